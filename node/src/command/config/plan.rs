//! `ultrakv config plan`: what a budget costs, as a table or as data.

use serde::Serialize;
use ultrakv_config::{Binds, FlagValue, Plan, PlanRequest};

use super::shape::{self, Found};
use crate::args::PlanArguments;
use crate::exit::Failure;
use crate::{format, output, settings};

/// The plan and where its shape came from.
#[derive(Serialize)]
struct Planned<'a> {
    model: &'a str,
    #[serde(flatten)]
    plan: &'a Plan,
}

/// Plans and prints.
pub(super) fn run(arguments: &PlanArguments) -> Result<(), Failure> {
    let mut sources = settings::sources(&arguments.settings)?;
    let typed = [
        ("model.kv_dtype", &arguments.dtype, "--dtype"),
        ("cache.strategy", &arguments.strategy, "--strategy"),
    ];
    for (key, value, flag) in typed {
        sources.flags.extend(value.as_ref().map(|value| FlagValue {
            key: key.to_owned(),
            value: value.clone(),
            flag: flag.to_owned(),
        }));
    }
    let loaded = ultrakv_config::load(&sources).map_err(|error| settings::refuse(&error))?;
    let Found { shape, from } = shape::find(arguments, &loaded)?;
    let plan = ultrakv_config::plan(&PlanRequest {
        shape,
        dtype: loaded.settings.model.kv_dtype,
        strategy: loaded.settings.cache.strategy,
        settings: &loaded.settings,
    });
    let planned = Planned {
        model: &from,
        plan: &plan,
    };
    output::result(arguments.output, &planned, || print(&from, &plan))
}

fn print(from: &str, plan: &Plan) -> Result<(), Failure> {
    let shape = plan.shape;
    output::data(&format!(
        "{from}: {} layers, {} heads of keys and values, {} numbers each, {}\n\
         {} a token: 2 x {} x {} x {} x {} bytes; {} a block, stored raw\n\
         strategy {} (policy {})\n",
        shape.layers,
        shape.kv_heads,
        shape.head_size,
        plan.dtype,
        format::bytes(plan.token_bytes),
        shape.layers,
        shape.kv_heads,
        shape.head_size,
        plan.token_bytes / scalars(plan),
        format::bytes(plan.block_paged_bytes),
        plan.strategy,
        plan.policy,
    ))?;
    let rows: Vec<Vec<String>> = plan
        .rows
        .iter()
        .map(|row| {
            let mark = if row.configured { "configured" } else { "" };
            vec![
                format::count(row.tokens),
                format::count(row.blocks),
                format::bytes(row.bytes),
                mark.to_owned(),
            ]
        })
        .collect();
    output::print_figures(&["max_tokens", "blocks", "memory", ""], &rows)?;
    let binds = match plan.binds {
        Binds::Bytes => "bytes bind first".to_owned(),
        Binds::Tokens => "tokens bind first".to_owned(),
    };
    output::data(&format!(
        "\nbudget {}, enough for {} tokens; {binds}",
        format::bytes(plan.bytes_max),
        format::count(plan.tokens_by_bytes),
    ))?;
    for warning in &plan.warnings {
        output::note(&format!(
            "warning[{}]: {}\n  hint: {}",
            warning.code, warning.message, warning.hint
        ));
    }
    Ok(())
}

/// Numbers in one token's keys and values.
fn scalars(plan: &Plan) -> u64 {
    let shape = plan.shape;
    (2 * u64::from(shape.layers) * u64::from(shape.kv_heads) * u64::from(shape.head_size)).max(1)
}
