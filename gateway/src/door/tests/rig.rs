//! A node of one shard with a tiny model behind both doors, and what tests ask it.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use ultrakv_actors::{Node, NodePlan};
use ultrakv_cluster::{ClusterHandle, ClusterPlan};
use ultrakv_config::{Devices, ServiceSettings, Settings, ports};
use ultrakv_model::{Engine, EngineOptions, ReferenceConfig};

use crate::gateway::{Gateway, GatewayParts, start};

/// Longer than anything here takes; a test that reaches it has failed.
pub(super) const WITHIN: Duration = Duration::from_secs(30);
pub(super) const PROCESS: &str = "/api/v1/kv-cache/process";
/// A generation of so many tokens is not over before a test has done what it wants to do meanwhile.
pub(super) const LONG: u32 = 10_000;

/// A served node.
pub(super) struct Served {
    pub(super) node: Node,
    gateway: Gateway,
    client: reqwest::Client,
}

/// Starts a node with these changes to the default settings.
pub(super) async fn serve(change: impl FnOnce(&mut Settings)) -> Served {
    let mut settings = Settings::default();
    settings.http.bind = ports::loopback(0);
    settings.admin.bind = ports::loopback(0);
    settings.cache.bytes_max = 64 << 20;
    settings.cache.entry_bytes_max = 1 << 20;
    settings.cache.devices = Devices::Count(1);
    settings.cache.block_tokens = 16;
    settings.model.name = Some("tiny".to_owned());
    for (service, group) in [
        ("other", None),
        ("left", Some("pair")),
        ("right", Some("pair")),
    ] {
        let share_group = group.map(str::to_owned);
        settings.services.insert(
            service.to_owned(),
            ServiceSettings {
                share_group,
                ..ServiceSettings::default()
            },
        );
    }
    change(&mut settings);
    let options = EngineOptions {
        block_tokens: 16,
        threads: Some(1),
        ..EngineOptions::default()
    };
    let reference = ReferenceConfig {
        context_tokens: 1 << 16,
        ..ReferenceConfig::tiny(7)
    };
    let engine = Engine::load_reference(&reference, &options).expect("a tiny model");
    let plan = NodePlan::from_settings(&settings.cache).expect("a registered policy");
    let node = Node::start(plan).await.expect("a node");
    let plan = ClusterPlan::from_settings(&settings, "0.0.0-test");
    let cluster = ClusterHandle::start(plan, &node)
        .await
        .expect("a cluster of one");
    let recorded = PrometheusBuilder::new().build_recorder().handle();
    let parts = GatewayParts {
        node: node.clone(),
        cluster,
        engine,
        settings,
        warnings: Vec::new(),
        recorded,
    };
    let gateway = start(parts).await.expect("open doors");
    // One connection a request, so that a request that is dropped is a client that goes away.
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .no_proxy();
    Served {
        node,
        gateway,
        client: client.build().expect("a client"),
    }
}

impl Served {
    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.client
            .get(format!("http://{}{path}", self.gateway.http()))
    }

    pub(super) fn put(&self, path: &str, body: &str) -> RequestBuilder {
        self.client
            .put(format!("http://{}{path}", self.gateway.http()))
            .body(body.to_owned())
    }

    pub(super) fn delete(&self, path: &str) -> RequestBuilder {
        self.client
            .delete(format!("http://{}{path}", self.gateway.http()))
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client
            .post(format!("http://{}{path}", self.gateway.http()))
            .json(body)
    }

    /// Sends a request of `process` and reads its answer.
    pub(super) async fn process(&self, body: &Value) -> (StatusCode, Value) {
        read(self.post(PROCESS, body)).await
    }

    /// The figure of that name on the admin door.
    pub(super) async fn figure(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.gateway.admin());
        let text = self
            .client
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = text
            .lines()
            .find(|line| line.split([' ', '{']).next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in:\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until a figure has that value.
    pub(super) async fn until(&self, name: &str, value: f64) {
        let wait = async {
            while self.figure(name).await != value {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WITHIN, wait)
            .await
            .unwrap_or_else(|_| panic!("{name} is not {value}"));
    }
}

/// Sends a request and reads the answer's body as JSON.
pub(super) async fn read(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

/// A stream of events as (event, data).
pub(super) fn events(body: &str) -> Vec<(String, String)> {
    let parsed = body
        .split("\n\n")
        .filter(|block| !block.is_empty())
        .map(|block| {
            let field = |name: &str| {
                let values = block.lines().filter_map(|line| line.strip_prefix(name));
                values
                    .map(|value| value.trim_start().to_owned())
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            (field("event:"), field("data:"))
        });
    parsed.filter(|(_, data)| !data.is_empty()).collect()
}
