//! What keeps the doors shut, and how they close.

use std::net::{SocketAddr, TcpListener};

use reqwest::Method;
use ultrakv_gateway::StartError;

use crate::house::{House, send, settings};

async fn refused(settings: ultrakv_config::Settings) -> StartError {
    match House::try_open(settings, Vec::new()).await {
        Ok(_) => panic!("the doors opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_address() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let mut with_http = settings();
    with_http.http.bind = address;
    let mut with_admin = settings();
    with_admin.admin.bind = address;
    for (settings, door) in [(with_http, "http"), (with_admin, "admin")] {
        let error = refused(settings).await;
        assert_eq!(error.code(), "gateway.bind");
        let told = error.to_string();
        assert!(
            told.contains(&address.to_string()) && told.contains(door),
            "{told}"
        );
        assert!(
            error.hint().contains("another process listens there"),
            "{}",
            error.hint()
        );
    }
}

#[tokio::test]
async fn held_doors_need_no_model_and_nobody_can_connect_to_them() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut settings = settings();
    settings.http.bind = free.local_addr().expect("its address");
    let taken = ultrakv_gateway::hold(&settings).expect_err("somebody listens there");
    assert_eq!(taken.code(), "gateway.bind");
    drop(free);
    let held = ultrakv_gateway::hold(&settings).expect("now it is free");
    let early = std::net::TcpStream::connect(settings.http.bind).expect_err("nothing listens");
    assert_eq!(early.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(held);
}

#[tokio::test]
async fn a_door_that_others_can_reach_needs_tokens() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut with_http = settings();
    with_http.http.bind = everywhere;
    let mut with_admin = settings();
    with_admin.admin.bind = everywhere;
    for settings in [with_http.clone(), with_admin] {
        let error = refused(settings).await;
        assert_eq!(error.code(), "gateway.exposed");
        assert!(error.hint().contains("auth.token_file"), "{}", error.hint());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "default default-token-0123456\n").expect("written");
    with_http.auth.token_file = Some(tokens);
    House::open(with_http).await;
}

#[tokio::test]
async fn a_token_file_that_cannot_be_used_keeps_the_doors_shut() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "default short\n").expect("written");
    let mut settings = settings();
    settings.auth.token_file = Some(tokens);
    let error = refused(settings.clone()).await;
    assert_eq!(error.code(), "token_file_short_token");
    settings.auth.token_file = Some(folder.path().join("none"));
    assert_eq!(refused(settings).await.code(), "token_file_unreadable");
}

#[tokio::test]
async fn closed_doors_are_closed() {
    let house = House::open(settings()).await;
    assert_eq!(send(house.http(Method::GET, "/health")).await.status(), 200);
    let (http, admin) = (
        house.http(Method::GET, "/health"),
        house.admin(Method::GET, "/health"),
    );
    assert!(house.close().await, "nothing was cut off");
    assert!(http.send().await.is_err_and(|error| error.is_connect()));
    assert!(admin.send().await.is_err_and(|error| error.is_connect()));
}
