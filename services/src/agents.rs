//! Responsible for the catalogue of Business Agents: who there is, what each can do, what it needs for it, and what the model is asked. It
//! is data; it must never run anything.
//!
//! ```
//! use ultrakv_services::agents::{Tongue, agent, prompt};
//!
//! let inputs = serde_json::json!({ "product": "Café de altura", "audience": "oficinas", "budget": "2 000 €" });
//! let capability = agent("marketing_001").and_then(|agent| agent.capability("campaign_planning")).expect("it is in the catalogue");
//! let prompt = prompt(capability, inputs.as_object().expect("an object"), Tongue::Spanish)?;
//! assert!(prompt.text.contains("Café de altura"));
//! # Ok::<(), ultrakv_services::agents::AgentError>(())
//! ```

mod catalogue;
mod prompt;

use serde::Serialize;

pub use crate::analysis::Tongue;
pub use catalogue::{AGENTS, AREAS};
pub use prompt::{AgentError, INPUT_CHARACTERS_MAX, Prompt, prompt};

/// An agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Its identifier in routes: `marketing_001`.
    pub id: &'static str,
    /// Its name, in Spanish.
    pub name_es: &'static str,
    /// Its name, in English.
    pub name_en: &'static str,
    /// The area of business it works in.
    pub business_area: &'static str,
    /// What it is, as the model is told; the same for all its capabilities, so that their prompts share a prefix.
    pub role: &'static str,
    /// What it can do.
    pub capabilities: &'static [Capability],
}

/// Something an agent can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// Its name in routes: `campaign_planning`.
    pub name: &'static str,
    /// What it does, in Spanish.
    pub description_es: &'static str,
    /// What it does, in English.
    pub description_en: &'static str,
    /// What it needs.
    pub inputs: &'static [Input],
    /// What the model is asked to do.
    #[serde(skip)]
    pub task: &'static str,
    /// The parts of the answer, in order.
    pub sections: &'static [&'static str],
    /// The agent it belongs to.
    #[serde(skip)]
    pub agent: &'static str,
}

/// Something a capability needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Whether it must be there.
    pub required: bool,
}

/// The agent of an identifier.
#[must_use]
pub fn agent(id: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.id == id)
}

impl Agent {
    /// A capability by name.
    #[must_use]
    pub fn capability(&self, name: &str) -> Option<&'static Capability> {
        self.capabilities
            .iter()
            .find(|capability| capability.name == name)
    }
}

#[cfg(test)]
mod tests;
