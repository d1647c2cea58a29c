//! The way up: settings, log, addresses, model, actors, cluster, doors, in this order, each needing only those before it.
//!
//! It decides nothing that a setting does not say. Addresses are held first, so that a taken port or a token file that cannot be
//! used is told before a model is read; nothing listens before everything behind it works.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use ultrakv_actors::{Clock, Node, NodePlan};
use ultrakv_cache::Dtype;
use ultrakv_cluster::{ClusterHandle, ClusterPlan};
use ultrakv_config::{
    KvDtype, Loaded, ModelSource as Source, Origin, PlanRequest, Settings, Shape, Warning,
};
use ultrakv_gateway::{Gateway, GatewayParts, StartError};
use ultrakv_model::{Engine, EngineOptions, ModelSource};

use crate::exit::{Failure, Status};

/// The version of this binary.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A node that serves.
pub(crate) struct Running {
    /// The doors.
    pub(crate) gateway: Gateway,
    /// The cluster as this node sees it.
    pub(crate) cluster: ClusterHandle,
    /// The supervision tree.
    pub(crate) node: Node,
    /// The time.
    pub(crate) clock: Clock,
}

/// Brings a node up. On an error, what was already up goes down with the process.
pub(crate) async fn boot(loaded: Loaded, recorded: PrometheusHandle) -> Result<Running, Failure> {
    let held = ultrakv_gateway::hold(&loaded.settings).map_err(|error| closed(&error))?;
    let engine = load_model(&loaded.settings).await?;
    let budgets = budget_warnings(&loaded, &engine);
    let Loaded {
        settings,
        mut warnings,
        ..
    } = loaded;
    warnings.extend(budgets);
    for warning in &warnings {
        let Warning {
            code,
            key,
            origin,
            message,
            ..
        } = warning;
        tracing::warn!(code, key, %origin, "{message}");
    }

    let plan = NodePlan::for_blocks(&settings.cache, engine.info().block_bytes);
    let mut plan = plan.map_err(|error| Failure {
        status: Status::Usage,
        ..Failure::caused("planning the cache", &error)
            .code(error.code())
            .hint(error.hint())
    })?;
    let clock = plan.clock.clone();
    // Only a member's blocks are asked for by others, so only it tells of them.
    let reports = settings
        .cluster
        .is_member()
        .then(|| ultrakv_cluster::block_reports(plan.devices.len()));
    if let Some(reports) = &reports {
        let watcher = Arc::clone(reports);
        plan.watcher = Some(watcher);
    }
    let node = Node::start(plan)
        .await
        .map_err(|error| Failure::caused("starting the actors", &error))?;
    let plan = ClusterPlan {
        reports,
        ..ClusterPlan::from_settings(&settings, VERSION)
    };
    let cluster = ClusterHandle::start(plan, &node).await.map_err(|error| {
        Failure::caused("starting the cluster", &error)
            .code(error.code())
            .hint(error.hint())
    })?;

    let parts = GatewayParts {
        node: node.clone(),
        cluster: cluster.clone(),
        engine,
        settings,
        warnings,
        recorded,
    };
    let gateway = ultrakv_gateway::open(held, parts)
        .await
        .map_err(|error| closed(&error))?;
    Ok(Running {
        gateway,
        cluster,
        node,
        clock,
    })
}

/// Why the doors stay closed.
fn closed(error: &StartError) -> Failure {
    let status = match error {
        // The operator named a file that does not say who may come in.
        StartError::Tokens(_) | StartError::Exposed { .. } => Status::Usage,
        StartError::Bind { .. } | StartError::Actors(_) => Status::Failed,
    };
    Failure {
        status,
        ..Failure::caused("opening the doors", error).hint(error.hint())
    }
}

/// Loads the model on a thread that may compute.
async fn load_model(settings: &Settings) -> Result<Engine, Failure> {
    let source = match &settings.model.source {
        Source::Reference { seed } => ModelSource::Reference { seed: *seed },
        Source::Folder(folder) => ModelSource::Folder(folder.clone()),
    };
    let wide = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let options = EngineOptions {
        block_tokens: wide(settings.cache.block_tokens),
        kv_dtype: match settings.model.kv_dtype {
            KvDtype::F32 => Dtype::F32,
            KvDtype::F16 => Dtype::F16,
            KvDtype::Bf16 => Dtype::Bf16,
        },
        context_tokens_max: settings.model.context_tokens_max.map(wide),
        threads: settings.model.threads.map(wide),
    };
    tracing::info!(?source, "loading the model");
    let loaded = tokio::task::spawn_blocking(move || Engine::load(&source, &options)).await;
    let engine = loaded
        .map_err(|error| Failure::caused("loading the model", &error))?
        .map_err(|error| Failure::caused("loading the model", &error).hint(error.hint()))?;
    let info = engine.info();
    tracing::info!(
        name = info.name,
        parameters = info.parameters,
        context_tokens = info.context_tokens,
        block_bytes = info.block_bytes,
        "the model is loaded"
    );
    if info.reference {
        tracing::info!(
            "this is the built-in reference model: real arithmetic, text without meaning"
        );
    }
    Ok(engine)
}

/// What `config plan` would warn about, now that the model's shape is known.
fn budget_warnings(loaded: &Loaded, engine: &Engine) -> Vec<Warning> {
    const KEY: &str = "cache.tokens_max";
    let settings = &loaded.settings;
    let layout = engine.info().layout;
    let shape = Shape {
        layers: layout.layers,
        kv_heads: layout.kv_heads,
        head_size: layout.head_size,
    };
    let plan = ultrakv_config::plan(&PlanRequest {
        shape,
        dtype: settings.model.kv_dtype,
        strategy: settings.cache.strategy,
        settings,
    });
    let warning = |found: ultrakv_config::PlanWarning| Warning {
        code: found.code,
        key: KEY.to_owned(),
        origin: loaded.origins.get(KEY).cloned().unwrap_or(Origin::Default),
        message: found.message,
        hint: Some(found.hint),
    };
    plan.warnings.into_iter().map(warning).collect()
}
