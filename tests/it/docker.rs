//! Our image under a real Docker engine: built from a prebuilt binary, brought up by our compose files, asked from the
//! host, stopped. Everything is named after this process and its test, and only that is torn down.
//!
//! No registry is asked: the base image is made of Debian's packages once, and kept under [`BASE_TAG`]. Skips aloud where
//! Docker, compose, debootstrap or root are absent. It must never touch containers that it did not start.

mod cluster;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Once, mpsc};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use ultrakv_tests::{binary, peer, skip};

/// The base image of the tests: the same packages as Debian's own slim image has, and glibc as old.
const BASE_TAG: &str = "ultrakv-test-base:bookworm-minbase";
/// From `compose up` until the health check has succeeded once.
const HEALTHY_WITHIN: Duration = Duration::from_secs(120);
/// What is told of an event: what happened, to which service, and with which status it ended, if it did.
const EVENT: &str = "{{.Status}} {{index .Actor.Attributes \"com.docker.compose.service\"}} {{index .Actor.Attributes \"exitCode\"}}";
/// Nodes of our largest compose file.
const NODES_MAX: usize = 5;
/// The user of the image; files that a container reads are given to it.
const IMAGE_USER: u32 = 10001;
const TOKEN: &str = "a-token-of-the-tests-0001";
const ADMIN_TOKEN: &str = "an-admin-token-of-the-tests-0002";

/// Runs a program to its end and returns what it wrote to standard output.
fn out(program: &mut Command) -> String {
    let said = program.stdin(Stdio::null()).output().expect("it runs");
    let err = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{program:?}: {}\n{err}", said.status);
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

fn docker(arguments: &[&str]) -> String {
    out(Command::new("docker").args(arguments))
}

/// `docker compose`, or `docker-compose` where that is what there is.
fn compose_program() -> Option<Vec<String>> {
    let plugin = Command::new("docker")
        .args(["compose", "version"])
        .output()
        .is_ok_and(|said| said.status.success());
    if plugin {
        return Some(vec!["docker".to_owned(), "compose".to_owned()]);
    }
    peer("docker-compose", &["version"]).map(|program| vec![program])
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Makes the base image unless the engine has it.
fn base_image() {
    if !docker(&["image", "ls", "--quiet", BASE_TAG]).is_empty() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let system = folder.path().join("system");
    let archive = folder.path().join("system.tar");
    out(Command::new("debootstrap")
        .args(["--variant=minbase", "bookworm"])
        .arg(&system));
    out(Command::new("tar")
        .args(["--create", "--exclude=./proc/*", "--exclude=./sys/*"])
        .args(["--exclude=./var/cache/apt/archives/*.deb", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(&system)
        .arg("."));
    docker(&["import", &archive.to_string_lossy(), BASE_TAG]);
}

/// A project of compose with an image of its own; both vanish with it.
struct Project {
    compose: Vec<String>,
    /// Which of our compose files.
    file: &'static str,
    name: String,
    image: String,
    folder: tempfile::TempDir,
}

impl Project {
    fn new(compose: Vec<String>, file: &'static str) -> Self {
        let name = format!("ultrakv-test-{}-{file}", std::process::id());
        let project = Self {
            compose,
            file,
            image: format!("{name}:prebuilt"),
            name,
            folder: tempfile::tempdir().expect("a folder"),
        };
        project.build();
        let tokens = project.tokens();
        fs::write(&tokens, format!("default {TOKEN}\nadmin {ADMIN_TOKEN}\n")).expect("written");
        fs::set_permissions(&tokens, fs::Permissions::from_mode(0o400)).expect("its mode");
        chown(&tokens, Some(IMAGE_USER), Some(IMAGE_USER)).expect("given away");
        project
    }

    fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    /// Builds the final stage around the binary under test, in a context that holds nothing else.
    fn build(&self) {
        let context = self.folder.path().join("context");
        let folder = context.join("docker/bin");
        fs::create_dir_all(&folder).expect("a folder");
        fs::copy(binary().expect("a binary"), folder.join("ultrakv")).expect("copied");
        fs::copy(root().join(".dockerignore"), context.join(".dockerignore")).expect("copied");
        let file = root().join("docker/Dockerfile");
        let base = format!("BASE_IMAGE={BASE_TAG}");
        let mut build = Command::new("docker");
        build.args(["build", "--quiet", "--target", "prebuilt", "--build-arg"]);
        build.args([&base, "--tag", &self.image, "--file"]);
        out(build.arg(file).arg(&context));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (program, before) = self.compose.split_first().expect("a program");
        let mut command = Command::new(program);
        command.args(before).args(["--project-name", &self.name]);
        let file = format!("docker/{}.yaml", self.file);
        command.arg("--file").arg(root().join(file));
        command.args(arguments);
        command.env("ULTRAKV_IMAGE", &self.image);
        command.env("ULTRAKV_TOKENS", self.tokens());
        // Port 0 is any free one.
        command.envs([("ULTRAKV_HTTP_PORT", "0"), ("ULTRAKV_ADMIN_PORT", "0")]);
        for node in 1..=NODES_MAX {
            for door in ["HTTP", "ADMIN"] {
                command.env(format!("ULTRAKV_{door}_PORT_{node}"), "0");
            }
        }
        command
    }

    /// What the engine tells of the project's containers, as they happen.
    fn events(&self) -> Events {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let mut child = Command::new("docker")
            .args(["events", "--since", "1m", "--filter", "type=container"])
            .args(["--filter", &project, "--format", EVENT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker runs");
        let (sender, lines) = mpsc::channel();
        let reader = BufReader::new(child.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Events { child, lines }
    }

    fn logs(&self) -> String {
        let said = self.command(&["logs", "--no-color"]).output();
        said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned())
            .unwrap_or_default()
    }

    /// Where a door of a node is reached from the host.
    fn url(&self, node: &str, port: &str, path: &str) -> String {
        let address = out(&mut self.command(&["port", node, port]));
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        format!("http://{address}{path}")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _best_effort = self
            .command(&["down", "--volumes", "--timeout", "1"])
            .output();
        let mut remove = Command::new("docker");
        let _best_effort = remove.args(["image", "rm", &self.image]).output();
    }
}

struct Events {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Events {
    /// Waits until each of these nodes is healthy. One that ends meanwhile is a failure; whatever makes certificates ends with
    /// success.
    fn wait_healthy(&self, nodes: &[String], project: &Project) {
        let mut missing: BTreeSet<&str> = nodes.iter().map(String::as_str).collect();
        while !missing.is_empty() {
            let line = self.lines.recv_timeout(HEALTHY_WITHIN);
            assert!(line.is_ok(), "{missing:?}:\n{}", project.logs());
            let line = line.unwrap_or_default();
            if let Some(node) = line.strip_prefix("health_status: healthy ") {
                missing.remove(node.split_whitespace().next().unwrap_or_default());
            }
            let ended = line.starts_with("die") && line != "die certs 0";
            assert!(!ended, "{line}:\n{}", project.logs());
        }
    }

    /// Waits until this node has ended, which from then on is no failure.
    fn wait_ended(&self, node: &str, project: &Project) {
        let ended = format!("die {node} ");
        loop {
            let line = self.lines.recv_timeout(HEALTHY_WITHIN);
            assert!(line.is_ok(), "{node} goes on:\n{}", project.logs());
            if line.is_ok_and(|line| line.starts_with(&ended)) {
                return;
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Asks every kind of door, as a client on the host does.
async fn drive(project: &Project) {
    let client = reqwest::Client::new();
    let url = project.url("node-1", "7800", "/api/v1/kv-cache/process");
    let body = json!({"text": "Is anybody in there?", "max_length": 4, "temperature": 0});
    let nobody = client.post(&url).json(&body).send().await.expect("sent");
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    for hit in [false, true] {
        let request = client.post(&url).bearer_auth(TOKEN).json(&body);
        let answer = request.send().await.expect("sent");
        assert_eq!(answer.status(), StatusCode::OK);
        let said: Value = answer.json().await.expect("JSON");
        assert_eq!(said.get("cache_hit"), Some(&json!(hit)), "{said}");
    }
    let block = project.url("node-1", "7800", "/v1/kv/blocks/a-name");
    let bytes = vec![7_u8; 100_000];
    let put = client.put(&block).bearer_auth(TOKEN).body(bytes.clone());
    assert!(put.send().await.expect("sent").status().is_success());
    let got = client.get(&block).bearer_auth(TOKEN).send().await;
    assert_eq!(got.expect("sent").bytes().await.expect("a body"), bytes);
    let status = project.url("node-1", "7801", "/status");
    let status = client.get(status).bearer_auth(ADMIN_TOKEN).send().await;
    assert_eq!(status.expect("sent").status(), StatusCode::OK);
}

/// What compose is called, where everything is there that these tests need; the base image is made on the way.
fn able() -> Option<Vec<String>> {
    let engine = ["version", "--format", "{{.Server.Version}}"];
    let peers = [
        peer("docker", &engine),
        peer("debootstrap", &["--version"]),
        peer("tar", &["--version"]),
    ];
    let compose = compose_program()?;
    if peers.iter().any(Option::is_none) {
        return None;
    }
    if out(Command::new("id").arg("-u")) != "0" {
        skip("docker's tests need root, for debootstrap makes a system's files");
        return None;
    }
    static BASE: Once = Once::new();
    BASE.call_once(base_image);
    Some(compose)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_a_container_serves_the_host_as_nobody_special_and_stops_cleanly() {
    let Some(compose) = able() else {
        return;
    };
    let project = Project::new(compose, "compose");

    let open = Command::new("docker")
        .args(["run", "--rm", "--network", "none", &project.image])
        .output()
        .expect("docker runs");
    let said = String::from_utf8_lossy(&open.stderr);
    assert_eq!(open.status.code(), Some(2), "{said}");
    assert!(said.contains("auth.token_file"), "{said}");

    let events = project.events();
    out(&mut project.command(&["up", "--detach", "--no-build"]));
    events.wait_healthy(&["node-1".to_owned()], &project);
    drive(&project).await;

    let container = out(&mut project.command(&["ps", "--quiet", "node-1"]));
    let inspect = |what: &str| {
        docker(&[
            "inspect",
            "--format",
            &format!("{{{{{what}}}}}"),
            &container,
        ])
    };
    let of_pid = fs::read_to_string(format!("/proc/{}/status", inspect(".State.Pid")));
    let of_pid = of_pid.expect("the node's process, seen from the host");
    let field = |name: &str| of_pid.lines().find_map(|line| line.strip_prefix(name));
    let users: Vec<&str> = field("Uid:").expect("users").split_whitespace().collect();
    assert_eq!(users, ["10001"; 4], "real, effective, saved and file user");
    assert_eq!(
        field("CapEff:").expect("rights").trim().trim_matches('0'),
        ""
    );
    assert_eq!(inspect(".Config.StopSignal"), "SIGTERM");

    docker(&["stop", &container]);
    assert_eq!(inspect(".State.Running"), "false");
    assert_eq!(inspect(".State.ExitCode"), "0", "{}", project.logs());
    assert!(project.logs().contains("ready"), "its log is the engine's");
}
