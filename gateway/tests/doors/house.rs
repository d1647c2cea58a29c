//! A node with open doors, small enough to start in a moment.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use ultrakv_actors::{Node, NodePlan};
use ultrakv_cluster::{ClusterHandle, ClusterPlan, NodeId};
use ultrakv_config::{ServiceSettings, Settings, Warning};
use ultrakv_gateway::{Gateway, GatewayParts, StartError};
use ultrakv_model::{Engine, EngineOptions, ReferenceConfig};

/// A node whose doors are open.
pub(crate) struct House {
    gateway: Gateway,
    cluster: ClusterHandle,
    engine: Engine,
    node: Node,
    node_id: NodeId,
    client: Client,
}

/// Settings for a test: free ports, little memory, three services of which two share.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.http.bind.set_port(0);
    settings.admin.bind.set_port(0);
    settings.cache.bytes_max = 64 << 20;
    settings.cache.entry_bytes_max = 8 << 20;
    settings.cache.block_tokens = 16;
    settings.cache.devices = ultrakv_config::Devices::Count(2);
    let group = |name: &str| ServiceSettings {
        share_group: Some(name.to_owned()),
        ..ServiceSettings::default()
    };
    settings.services = BTreeMap::from([
        ("default".to_owned(), ServiceSettings::default()),
        ("left".to_owned(), group("pair")),
        ("right".to_owned(), group("pair")),
    ]);
    settings
}

fn recorder() -> PrometheusHandle {
    PrometheusBuilder::new().build_recorder().handle()
}

impl House {
    pub(crate) async fn open(settings: Settings) -> Self {
        Self::try_open(settings, Vec::new())
            .await
            .expect("the doors open")
    }

    pub(crate) async fn try_open(
        settings: Settings,
        warnings: Vec<Warning>,
    ) -> Result<Self, StartError> {
        let model = ReferenceConfig {
            layers: 2,
            hidden: 32,
            intermediate: 64,
            heads: 2,
            kv_heads: 1,
            head_size: 16,
            ..ReferenceConfig::standard(7)
        };
        Self::build(settings, warnings, &model).await
    }

    /// A node with this model.
    pub(crate) async fn open_with(settings: Settings, model: &ReferenceConfig) -> Self {
        Self::build(settings, Vec::new(), model)
            .await
            .expect("the doors open")
    }

    async fn build(
        settings: Settings,
        warnings: Vec<Warning>,
        model: &ReferenceConfig,
    ) -> Result<Self, StartError> {
        let plan = NodePlan::from_settings(&settings.cache).expect("a registered policy");
        let node = Node::start(plan).await.expect("a node");
        let plan = ClusterPlan::from_settings(&settings, "test");
        let cluster = ClusterHandle::start(plan, &node)
            .await
            .expect("a cluster of one");
        let options = EngineOptions {
            block_tokens: usize::try_from(settings.cache.block_tokens).expect("small"),
            threads: Some(1),
            ..EngineOptions::default()
        };
        let engine = Engine::load_reference(model, &options).expect("a small model");
        let node_id = cluster.status().node_id;
        let parts = GatewayParts {
            node: node.clone(),
            cluster: cluster.clone(),
            engine: engine.clone(),
            settings,
            warnings,
            recorded: recorder(),
        };
        let gateway = ultrakv_gateway::start(parts).await?;
        Ok(Self {
            gateway,
            cluster,
            engine,
            node,
            node_id,
            client: Client::new(),
        })
    }

    /// A request to the main door.
    pub(crate) fn http(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.gateway.http()))
    }

    /// A request to the admin door.
    pub(crate) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.gateway.admin()))
    }

    /// The cluster as the doors see it.
    pub(crate) const fn cluster(&self) -> &ClusterHandle {
        &self.cluster
    }

    /// Its model.
    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Kills an actor; whether there was one.
    pub(crate) fn kill(&self, path: &str) -> bool {
        self.node.kill(path)
    }

    /// The id of its node.
    pub(crate) const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Says that it is about to stop.
    pub(crate) fn announce_stop(&self) {
        self.gateway.announce_stop();
    }

    /// Closes the doors; true when nothing was cut off.
    pub(crate) async fn close(self) -> bool {
        let deadline = self.node.clock().deadline(Duration::from_secs(10));
        self.gateway.shutdown(deadline).await
    }
}

/// Sends a request and reads the whole answer as JSON.
pub(crate) async fn json(request: RequestBuilder) -> (u16, Value) {
    let answer = send(request).await;
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("the answer is JSON"))
}

pub(crate) async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

/// Sends a request that is to fail, and gives its status and stable code.
pub(crate) async fn failure(request: RequestBuilder) -> (u16, String) {
    let (status, body) = json(request).await;
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}
