//! What a cluster without a majority says and does, and what becomes of a job when who saw to it is lost.

use super::*;

/// Blocks of one node are enough for its readers; entries and changes need a majority.
#[test]
fn without_a_majority_a_node_says_so_and_serves_blocks_alone() {
    let _alone = alone();
    let options = Options::default().patient().set("cluster.block_copies=3");
    let mut cluster = TestCluster::start(3, options).expect("a cluster");
    let written = write_entries(&cluster, "agreed", 12);
    let mut last = door(&cluster, 0);
    // Entries wait for another owner before they say no.
    last.within = FAILS_OVER_WITHIN;
    put(
        &last,
        &format!("{}?ack=all", block("here")),
        b"bytes of a block",
    );
    for at in [1, 2] {
        let node = cluster.process_mut(at).expect("a node");
        node.kill().expect("killed");
    }

    let admin = cluster.process(0).expect("a node").admin();
    eventually("it knows that it is alone", || {
        let (status, told) = admin.json("GET", "/readyz", &Value::Null).ok()?;
        let mut checks = told["checks"].as_array()?.iter();
        let lacks = checks.find(|check| check["ok"] == false)?;
        let knows = status == 503 && told["status"] == "degraded" && lacks["name"] == "quorum";
        knows.then_some(())
    });
    let patient = call(&admin, "GET", "/readyz?degraded=ok", b"");
    assert_eq!(patient.status, 200);
    let token = cluster.root().expect("a folder").join("operator-token");
    std::fs::write(&token, admin.token.as_deref().expect("a token")).expect("written");
    let (address, token) = (admin.address.to_string(), token.display().to_string());
    let words = [
        "cluster",
        "status",
        "--admin",
        &address,
        "--token-file",
        &token,
    ];
    let status = ultrakv(&words, &[], FAILS_OVER_WITHIN);
    let status = status.expect("it runs");
    assert_eq!(status.code, Some(5), "{}{}", status.out, status.err);

    assert_eq!(
        call(&last, "GET", &block("here"), b"").body,
        b"bytes of a block"
    );
    put(&last, &block("new"), b"more");
    assert_eq!(call(&last, "GET", &block("new"), b"").body, b"more");
    for method in ["GET", "PUT"] {
        let answer = call(&last, method, &entry("agreed-0"), b"value");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 503, "{method}: {text}");
        assert!(
            text.contains("entry_unavailable") || text.contains("outcome_unknown"),
            "{text}"
        );
    }

    for at in [1, 2] {
        cluster.restart(at).expect("it comes back");
    }
    cluster.wait_whole(SETTLES_WITHIN).expect("whole again");
    eventually("it is ready", || {
        let answer = admin.call("GET", "/readyz", &[], b"").ok()?;
        (answer.status == 200).then_some(())
    });
    // Two of three copies were lost at once; the third has everything.
    for (name, value) in &written {
        let found = eventually("an entry is answered", || entry_at(&last, name));
        let found = found.expect("what the last node kept is there");
        // The one that was written meanwhile may have been taken over, as its writer was told.
        assert!(
            found == *value || name == "agreed-0" && found == b"value",
            "{name}"
        );
    }
}

#[test]
fn a_job_goes_on_when_the_leader_that_saw_to_it_is_lost() {
    let _alone = alone();
    let mut cluster = TestCluster::start(4, Options::default().patient()).expect("a cluster");
    let mut written = write_entries(&cluster, "kept", 24);
    let leader = cluster.leader().expect("a leader");
    let others: Vec<usize> = (0..4).filter(|at| *at != leader).collect();
    let [drained, asked] = [others[0], others[1]];
    let drained_id = cluster.id(drained).expect("an id").to_owned();

    let admin = cluster.process(asked).expect("a node").admin();
    let path = format!("/v1/nodes/{drained_id}/drain");
    let job = admin
        .ask("POST", &path, &json!({ "leave": false }))
        .expect("a job");
    let id = job["id"].as_str().expect("an id").to_owned();
    let node = cluster.process_mut(leader).expect("a node");
    node.kill().expect("killed");

    cluster
        .wait_job(asked, &id)
        .expect("the next leader ends it");
    let view = cluster.view(asked).expect("a view");
    assert_eq!(
        view.owned().get(drained_id.as_str()),
        None,
        "it owns nothing"
    );
    cluster.restart(leader).expect("it comes back");
    written.extend(write_entries(&cluster, "later", 8));
    assert_all_there(&cluster, &written);
}
