//! How the node speaks: log lines on stderr, and the recorder behind /metrics.
//!
//! It knows shapes and levels; which lines and which metrics there are is decided where they happen.

use std::io::{self, IsTerminal as _};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use ultrakv_config::{LogFormat, LogSettings};

use crate::exit::{Failure, Status};

/// Bounds of histograms in seconds: a response hit takes a tenth of a millisecond, a long generation minutes. The
/// documented bounds (0.01 to 10 s) are all among them.
const SECONDS: [f64; 17] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 60.0,
];
/// Bounds of histograms in tokens.
const TOKENS: [f64; 10] = [
    1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0,
];
/// Bounds of histograms in bytes.
const BYTES: [f64; 8] = [
    1_024.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Libraries whose own information is not the operator's. Consensus' library calls every lost vote an error; what an operator must
/// know of it, ours tells.
const QUIET: &str = "ractor=warn,ractor_cluster=warn,hyper=warn,hyper_util=warn,h2=warn,tokenizers=warn,\
                     openraft=off,quinn=warn,sled=warn,rustls=warn";

/// Starts the log. Panics are logged too, since a line that is not JSON would break whoever reads the log.
///
/// # Errors
/// Wrong directives in `log.level`.
pub(crate) fn start_log(settings: &LogSettings) -> Result<(), Failure> {
    let level = settings.level.as_str();
    // Directives that name a target are the operator's own choice; a bare level is not meant for libraries.
    let directives = if level.contains([',', '=']) {
        level.to_owned()
    } else {
        format!("{level},{QUIET}")
    };
    let filter = EnvFilter::try_new(&directives).map_err(|error| {
        Failure::new(Status::Usage, format!("error[config.wrong_type]: log.level: {level}: {error}"))
            .hint("a level (error, warn, info, debug, trace), or directives such as `info,ultrakv_gateway=debug`")
    })?;
    let text = match settings.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let base = tracing_subscriber::registry().with(filter);
    let started: Result<(), TryInitError> = if text {
        let ansi = io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        base.with(Layer::new().with_writer(io::stderr).with_ansi(ansi))
            .try_init()
    } else {
        base.with(
            Layer::new()
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .with_writer(io::stderr),
        )
        .try_init()
    };
    started.map_err(|error| Failure::caused("starting the log", &error))?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let said = panic.payload_as_str().unwrap_or("no words");
        tracing::error!(place, "panicked: {said}");
    }));
    Ok(())
}

/// Starts the recorder of metrics; the gateway sweeps it.
pub(crate) fn start_metrics() -> Result<PrometheusHandle, Failure> {
    let suffixed = |builder: PrometheusBuilder, suffix: &str, bounds: &[f64]| {
        builder.set_buckets_for_metric(Matcher::Suffix(suffix.to_owned()), bounds)
    };
    let handle = suffixed(PrometheusBuilder::new(), "_seconds", &SECONDS)
        .and_then(|builder| suffixed(builder, "_tokens", &TOKENS))
        .and_then(|builder| suffixed(builder, "_bytes", &BYTES))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| Failure::caused("starting the metrics recorder", &error))?;
    ultrakv_gateway::telemetry::describe();
    Ok(handle)
}
