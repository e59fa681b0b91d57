//! The door on a Unix socket, asked by curl.

use crate::support::{Folder, Up, chat, sim_target, within};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;
use tautline::sim::{Sim, SimSettings};
use tokio::process::Command;

async fn curl(socket: &Path, headers: &[&str], stream: bool) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--noproxy", "*", "--max-time", "20", "--write-out", "\nstatus=%{http_code}"]);
    command.arg("--unix-socket").arg(socket);
    for header in headers {
        command.args(["--header", header]);
    }
    let body = chat("m", stream).to_string();
    command.args(["--data", &body, "http://any.example/v1/chat/completions"]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("curl is installed");
    String::from_utf8(output.stdout).expect("text")
}

async fn up(folder: &Folder, sim: &Sim, gateway: &str) -> Up {
    let config = format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", "tokens=3", ""));
    folder.up(sim, gateway, &config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_is_near_and_is_replaced_and_removed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, SimSettings::default());
    let folder = Folder::new();
    let socket = folder.path().join("gateway.sock");
    let gateway = format!("listen_unix = {:?}", socket.display().to_string());
    let mut first = up(&folder, &sim, &gateway).await;
    let found = std::fs::symlink_metadata(&socket).expect("it is there");
    assert_eq!((found.file_type().is_socket(), found.permissions().mode() & 0o777), (true, 0o660));
    // Whatever the host is called, and without a key: who may open it is near.
    let streamed = curl(&socket, &[], true).await;
    assert!(streamed.contains("data: [DONE]") && streamed.ends_with("status=200"), "{streamed}");
    assert!(curl(&socket, &[], false).await.ends_with("status=200"));
    // Unless a proxy hands on what came from elsewhere.
    let far = ["x-forwarded-for: 203.0.113.9"];
    assert!(curl(&socket, &far, false).await.ends_with("status=401"));
    // Nobody takes a socket that is in use.
    let elsewhere = [("TAUTLINE__GATEWAY__LISTEN", "127.0.0.1:0"), ("TAUTLINE__ADMIN__LISTEN", "127.0.0.1:0")];
    let said = folder.spawn(&elsewhere, &["up"], [0, 0]).await.err().expect("it is refused");
    assert!(said.contains("gateway.listen_unix") && said.contains("in use"), "{said}");
    assert!(curl(&socket, &[], false).await.ends_with("status=200"), "and the first one goes on");
    // One that was killed leaves its socket behind, and the next one takes its place.
    first.signal("KILL").await;
    first.ended().await;
    assert!(socket.exists());
    let mut second = up(&folder, &sim, &gateway).await;
    assert!(curl(&socket, &[], false).await.ends_with("status=200"));
    second.signal("TERM").await;
    assert!(second.ended().await.success());
    assert!(!socket.exists(), "one that ends well takes its socket along");
    // Whose socket was taken away does not take away its successor's.
    let mut robbed = up(&folder, &sim, &gateway).await;
    std::fs::remove_file(&socket).expect("it was there");
    let heir = up(&folder, &sim, &gateway).await;
    robbed.signal("TERM").await;
    assert!(robbed.ended().await.success());
    assert!(curl(&socket, &[], false).await.ends_with("status=200"), "the heir's");
    drop(heir);
    std::fs::remove_file(&socket).expect("it was killed");
    // A file that is no socket is nobody's to remove.
    folder.write("gateway.sock", "a letter");
    let said = folder.spawn(&elsewhere, &["up"], [0, 0]).await.err().expect("it is refused");
    assert!(said.contains("gateway.listen_unix"), "{said}");
    assert_eq!(std::fs::read_to_string(&socket).expect("still there"), "a letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_may_be_the_only_way_in_and_a_proxy_on_it_may_be_believed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, SimSettings::default());
    let folder = Folder::new();
    let socket = folder.path().join("only.sock");
    let admin = crate::support::closed_port();
    folder.write(
        "tautline.toml",
        &format!(
            "[gateway]\nlisten = []\nlisten_unix = {:?}\ntrusted_proxies = [\"unix\"]\nauth = \"none\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n[log]\nexchanges = \"off\"\n\
             [providers.sim]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = []\n{}[routes.m]\ntargets = [\"a\"]\n",
            socket.display().to_string(),
            sim.base_url(),
            sim_target("a", "tokens=3", "")
        ),
    );
    let _up = folder.spawn(&[], &["up"], [0, admin]).await.expect("it starts");
    let told = curl(&socket, &["x-forwarded-for: 203.0.113.9"], false).await;
    assert!(told.ends_with("status=200"), "{told}");
    within("the record", async {
        while !folder.run(&["explain", "last"]).await.out.contains("It came from 203.0.113.9.") {}
    })
    .await;
}
