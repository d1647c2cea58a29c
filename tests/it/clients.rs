//! Other people's programs against our doors. Each skips aloud where the program is absent, and fails for
//! its absence under `CI`.

use std::process::Command;

use ultrakv_tests::{Node, peer};

#[test]
fn the_openai_client_finds_what_it_expects() {
    let Some(python) = peer("python", &["-c", "import openai"]) else {
        return;
    };
    let node = Node::start("", &[]).expect("a node");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/openai_contract.py");
    let said = Command::new(python)
        .arg(script)
        .arg(node.http("/v1"))
        .output()
        .expect("python runs");
    let (out, err) = (
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr),
    );
    assert!(
        said.status.success(),
        "{out}{err}\n{}",
        node.log().unwrap_or_default()
    );
    assert!(out.contains("checks held"), "{out}");
}

#[test]
fn promtool_accepts_our_metrics() {
    let Some(promtool) = peer("promtool", &["--version"]) else {
        return;
    };
    let node = Node::start("", &[]).expect("a node");
    let fetched = Command::new("sh")
        .args(["-c", r#"exec "$0" check metrics"#, &promtool])
        .stdin(metrics_of(&node))
        .output()
        .expect("promtool runs");
    let (out, err) = (
        String::from_utf8_lossy(&fetched.stdout),
        String::from_utf8_lossy(&fetched.stderr),
    );
    // Lint remarks (exit 3) concern the documented names, which are not ours to better.
    assert_ne!(fetched.status.code(), Some(1), "{out}{err}");
}

/// The text of `/metrics`, as a file to read from.
fn metrics_of(node: &Node) -> std::fs::File {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let text = runtime
        .block_on(async { reqwest::get(node.admin("/metrics")).await?.text().await })
        .expect("the metrics");
    assert!(text.contains("ultrakv_"), "{text}");
    let mut file = tempfile::tempfile().expect("a file");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    file
}
