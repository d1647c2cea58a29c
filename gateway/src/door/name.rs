//! What a client calls a block or an entry: any text or bytes, within bounds.
//!
//! A name means something only to the client that chose it. A block's is turned into a key under the caller's domain, so two
//! services that choose one name have two blocks, and no name reaches a block of the process path; an entry's is looked up
//! inside that domain.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use ultrakv_actors::Domain;
use ultrakv_cache::{BlockAddress, BlockKey, opaque_key};

use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::AppState;

/// The longest name.
pub(in crate::door) const NAME_BYTES_MAX: usize = 512;

/// The longest salt.
const SALT_BYTES_MAX: usize = 256;

/// A caller's own separation inside its service: names under different salts are different blocks.
const SALT: &str = "x-ultrakv-salt";

/// The block that the path of the request names, in the domain of its caller.
#[derive(Debug, Clone)]
pub(in crate::door) struct Target {
    pub(in crate::door) domain: Domain,
    pub(in crate::door) name: String,
    pub(in crate::door) address: BlockAddress,
}

impl FromRequestParts<AppState> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Scope(domain) = Scope::from_request_parts(parts, state).await?;
        let Name(name) = Name::from_request_parts(parts, state).await?;
        let address = address(&domain, name.as_bytes());
        Ok(Self {
            domain,
            name,
            address,
        })
    }
}

/// The name in the path of the request, within bounds.
#[derive(Debug, Clone)]
pub(in crate::door) struct Name(pub(in crate::door) String);

impl FromRequestParts<AppState> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = path.map_err(|_| {
            Problem::bad_request("name_invalid", "the name in the path is not valid UTF-8")
                .hint("percent-encode the name; write binary names in hexadecimal")
        })?;
        check(name.as_bytes(), "key")?;
        Ok(Self(name))
    }
}

/// Refuses names out of bounds. `param` says where the name was.
pub(in crate::door) fn check(name: &[u8], param: &str) -> Result<(), Problem> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    let told = format!(
        "a name has 1 to {NAME_BYTES_MAX} bytes, this one has {}",
        name.len()
    );
    Err(Problem::bad_request("name_invalid", told)
        .hint("use a digest of the name")
        .param(param))
}

/// The domain that the caller's names are resolved under, from the caller's service and salt.
#[derive(Debug, Clone, Copy)]
pub(in crate::door) struct Scope(pub(in crate::door) Domain);

impl FromRequestParts<AppState> for Scope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let salt = match parts.headers.get(SALT).map(|value| value.to_str()) {
            None => None,
            Some(Ok(salt)) if salt.len() <= SALT_BYTES_MAX => Some(salt),
            Some(_) => {
                let told = format!("a salt is visible ASCII of at most {SALT_BYTES_MAX} bytes");
                return Err(Problem::bad_request("salt_invalid", told)
                    .hint("use a digest of the salt")
                    .param(SALT));
            }
        };
        Ok(Self(state.cluster.domain(&caller.service, salt)?))
    }
}

/// The key of a name.
pub(in crate::door) fn key(domain: &Domain, name: &[u8]) -> BlockKey {
    opaque_key(&domain.effective, name)
}

/// Where the block of that name lives. Names tell nothing about neighbours, so each block is a run of its own.
pub(in crate::door) fn address(domain: &Domain, name: &[u8]) -> BlockAddress {
    let key = key(domain, name);
    BlockAddress { key, run: key }
}
