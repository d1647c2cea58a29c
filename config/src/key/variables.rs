//! Documented environment variables that are not simply a file key in capitals.
//!
//! The original template names the whole deployment: database, mail, five neighbours. What this node does not do is
//! accepted and said, never silently dropped.

use super::{Key, Meaning, alias, always, not_yet};
use crate::value::{Kind, Value};

/// Documented names for keys of the table.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("KV_CACHE_STRATEGY", "kv_cache.cache_strategy"),
    ("KV_CACHE_MODE", "kv_cache.cache_mode"),
    ("KV_CACHE_COMPRESSION", "kv_cache.use_compression"),
    ("KV_CACHE_SIZE", "kv_cache.cache_size"),
    ("ULTRAKV_PRESET", "preset"),
];

const NO_LABEL: &str =
    "it is a label of the deployment; nothing depends on it (node.name names the node)";
const NO_TOKENS: &str =
    "callers are known by the tokens in auth.token_file; no other kind of token is issued or read";
const NO_DATABASE: &str = "no database is used; everything is in the node";
const NO_REDIS: &str = "no Redis is used; everything is in the node";
const NO_NEIGHBOUR: &str = "no other service is called";
const NO_REMOTE_MODEL: &str = "the embedded model answers; no remote model is called";
const NO_RATE: &str = "there is no rate limit by time; limits.requests_concurrent_max and process.queue_max hold load back";
const NO_GRAFANA: &str = "no dashboard is served; /metrics is for any Prometheus";
const NO_PROMETHEUS_PORT: &str = "metrics are served by the admin door, where admin.bind says";
const NO_UPLOAD: &str = "there are no uploads; limits.body_bytes_max bounds every request";
const NO_CORS: &str = "no cross-origin headers are sent";
const NO_MAIL: &str = "no mail is sent";
const NO_BACKUP: &str = "no backups are made; the cache can be computed again";

/// A documented secret of a feature that does not exist yet.
const fn secret(path: &'static str, instead: &'static str) -> Key {
    let key = not_yet(path, Kind::Text, instead);
    Key {
        secret: true,
        ..key
    }
}

/// Any count.
const COUNT: Kind = Kind::Count {
    min: 0,
    max: u64::MAX,
};

/// Every documented variable without a file key.
pub(super) const KEYS: &[Key] = &[
    not_yet("APP_NAME", Kind::Text, NO_LABEL),
    not_yet("APP_VERSION", Kind::Text, NO_LABEL),
    not_yet("ENVIRONMENT", Kind::Text, NO_LABEL),
    Key {
        path: "DEBUG",
        kind: Kind::Flag,
        doc: "Documented; LOG_LEVEL=debug says more.",
        meaning: Meaning::NotYet {
            instead: "LOG_LEVEL=debug makes the log say more",
        },
        secret: false,
    },
    Key {
        path: "LOG_LEVEL",
        kind: Kind::Choice(&[
            "trace", "debug", "info", "warning", "warn", "error", "critical",
        ]),
        doc: "The documented name of log.level.",
        meaning: Meaning::Alias {
            of: "log.level",
            convert: |value| match value {
                Value::Text(text) if text == "warning" => Value::Text("warn".to_owned()),
                Value::Text(text) if text == "critical" => Value::Text("error".to_owned()),
                value => value,
            },
        },
        secret: false,
    },
    alias(
        "HOST",
        Kind::Host,
        "http.bind",
        "The address part of http.bind.",
    ),
    Key {
        path: "PORT",
        kind: Kind::Count {
            min: 0,
            max: 65_535,
        },
        doc: "The port part of http.bind.",
        meaning: Meaning::Alias {
            of: "http.bind",
            convert: |value| value,
        },
        secret: false,
    },
    secret("SECRET_KEY", NO_TOKENS),
    secret("HMAC_SECRET", NO_TOKENS),
    not_yet("ACCESS_TOKEN_EXPIRE_MINUTES", COUNT, NO_TOKENS),
    not_yet("ALGORITHM", Kind::Text, NO_TOKENS),
    secret("DATABASE_URL", NO_DATABASE),
    not_yet("DATABASE_ECHO", Kind::Flag, NO_DATABASE),
    not_yet("DATABASE_POOL_SIZE", COUNT, NO_DATABASE),
    not_yet("DATABASE_MAX_OVERFLOW", COUNT, NO_DATABASE),
    secret("REDIS_URL", NO_REDIS),
    not_yet("REDIS_ENABLED", Kind::Flag, NO_REDIS),
    not_yet(
        "REDIS_TTL",
        COUNT,
        "process.response_ttl says how long answers are kept",
    ),
    not_yet("INTEGRATION_SYSTEM_ENDPOINT", Kind::Text, NO_NEIGHBOUR),
    not_yet("CONTENT_REDUNDANCY_ENDPOINT", Kind::Text, NO_NEIGHBOUR),
    not_yet("BUL_ENDPOINT", Kind::Text, NO_NEIGHBOUR),
    not_yet("GAMMA_APP_ENDPOINT", Kind::Text, NO_NEIGHBOUR),
    not_yet("BUSINESS_AGENTS_ENDPOINT", Kind::Text, NO_NEIGHBOUR),
    not_yet("EXPORT_IA_ENDPOINT", Kind::Text, NO_NEIGHBOUR),
    secret("OPENAI_API_KEY", NO_REMOTE_MODEL),
    secret("ANTHROPIC_API_KEY", NO_REMOTE_MODEL),
    secret("OPENROUTER_API_KEY", NO_REMOTE_MODEL),
    secret("HUGGINGFACE_API_KEY", NO_REMOTE_MODEL),
    not_yet("RATE_LIMIT_ENABLED", Kind::Flag, NO_RATE),
    not_yet("RATE_LIMIT_REQUESTS", COUNT, NO_RATE),
    not_yet("RATE_LIMIT_WINDOW", COUNT, NO_RATE),
    always("PROMETHEUS_ENABLED", "true", "/metrics is always served"),
    not_yet("PROMETHEUS_PORT", COUNT, NO_PROMETHEUS_PORT),
    not_yet("GRAFANA_ENABLED", Kind::Flag, NO_GRAFANA),
    not_yet("GRAFANA_PORT", COUNT, NO_GRAFANA),
    not_yet("MAX_FILE_SIZE", COUNT, NO_UPLOAD),
    not_yet("ALLOWED_FILE_TYPES", Kind::Text, NO_UPLOAD),
    not_yet("CORS_ORIGINS", Kind::Text, NO_CORS),
    not_yet("CORS_CREDENTIALS", Kind::Flag, NO_CORS),
    not_yet("SMTP_HOST", Kind::Text, NO_MAIL),
    not_yet("SMTP_PORT", COUNT, NO_MAIL),
    not_yet("SMTP_USER", Kind::Text, NO_MAIL),
    secret("SMTP_PASSWORD", NO_MAIL),
    not_yet("EMAIL_FROM", Kind::Text, NO_MAIL),
    not_yet("BACKUP_ENABLED", Kind::Flag, NO_BACKUP),
    not_yet("BACKUP_INTERVAL_HOURS", COUNT, NO_BACKUP),
    not_yet("BACKUP_RETENTION_DAYS", COUNT, NO_BACKUP),
];
