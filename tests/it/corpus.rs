//! The corpora of request heads and bodies, and mutations of them: whatever
//! comes, nothing panics and everything ends soon.

use crate::support::{Client, House, chat, sim_target, within};
use bytes::Bytes;
use fastrand::Rng;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tautline::wire::chat::{Assembler, chunks_of_whole, read_chunk, read_whole};
use tautline::wire::dialect::Dialect;
use tautline::wire::fuzzed::mutated;
use tautline::wire::inflate::{Coding, Inflate};
use tautline::wire::refusal::read_error_fields;
use tautline::wire::request::{Asked, Rewrite};
use tautline::wire::sse::{SseDecoder, SseFrame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Mutations of each file.
const MUTATIONS: usize = 25;
/// One input through all parsers, unoptimised, on a busy machine.
const ONE_MAX: Duration = Duration::from_secs(2);

/// One of the corpora of this test.
pub fn corpus(kind: &str) -> Vec<(String, Vec<u8>)> {
    let files = files(&format!("tests/corpus/{kind}"));
    assert!(files.len() > 60, "{kind}: {}", files.len());
    files
}

/// The files of a folder of the tree by name, in the same order everywhere; none
/// if there is no such folder.
pub fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let mut bytes = Vec::new();
            std::fs::File::open(entry.path()).expect("a file").read_to_end(&mut bytes).expect("readable");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

fn frames(bytes: &[u8], step: usize) -> Vec<SseFrame> {
    let (mut decoder, mut out) = (SseDecoder::new(64 << 10), Vec::new());
    for piece in bytes.chunks(step.max(1)) {
        decoder.push(piece, &mut out).expect("the corpus is smaller than the bound");
    }
    out.extend(decoder.finish());
    out
}

/// One input through all that reads what strangers wrote.
fn through(name: &str, bytes: &[u8]) {
    let began = Instant::now();
    if let Ok(request) = Asked::parse(Dialect::Chat, bytes) {
        let set = [("store".to_owned(), serde_json::json!(false))];
        let rename = [("max_tokens".to_owned(), "max_completion_tokens".to_owned())];
        let how = Rewrite {
            model: "other",
            stream: true,
            ask_usage: true,
            drop_metadata_task: true,
            drop: &["logit_bias".to_owned()],
            rename: &rename,
            set: &set,
        };
        let body = request.rewrite(&how).body;
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((&read["model"], &read["stream"]), (&"other".into(), &true.into()), "{name}");
    }
    let whole = frames(bytes, bytes.len());
    for step in [1, 7] {
        assert_eq!(frames(bytes, step), whole, "{name}: cut every {step} bytes");
    }
    let mut assembler = Assembler::default();
    for payload in whole.iter().map(|frame| &frame.data[..]).chain([bytes]) {
        let _ = read_chunk(payload);
        let _ = read_whole(payload);
        let _ = read_error_fields(payload);
        let _ = chunks_of_whole(payload, true);
        assembler.push(payload);
    }
    let answer = assembler.finish().to_string();
    assert!(answer.len() < 64 * bytes.len() + 4096, "{name}: {} bytes of {}", answer.len(), bytes.len());
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
        let mut piece = [0; 4096];
        let mut inflate = Inflate::new(coding, Bytes::copy_from_slice(bytes)).expect("a decoder");
        while inflate.piece(&mut piece).is_ok_and(|read| read > 0) {}
    }
    assert!(began.elapsed() < ONE_MAX, "{name}: {:?}", began.elapsed());
}

#[test]
fn bodies_of_any_kind_are_read_or_refused_and_cut_anywhere_alike() {
    let mut rng = Rng::with_seed(5);
    for (name, bytes) in corpus("body") {
        through(&name, &bytes);
        for number in 0..MUTATIONS {
            through(&format!("{name}, mutation {number}"), &mutated(&bytes, &mut rng));
        }
    }
}

/// Sends it and reads until the connection ends.
async fn sent(addr: std::net::SocketAddr, name: String, bytes: Vec<u8>) {
    let mut client = Client::connect(addr).await;
    // It may be refused and closed before all was taken.
    let _ = client.stream.write_all(&bytes).await;
    let mut all = Vec::new();
    let _ = within(&name, client.stream.read_to_end(&mut all)).await;
    assert!(all.is_empty() || all.starts_with(b"HTTP/1.1 "), "{name}: {}", String::from_utf8_lossy(&all));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_of_any_kind_end_with_a_reason_and_the_door_stands() {
    let config = format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", "tokens=4", ""));
    let waits = "head_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nconnection_idle = \"300ms\"\n";
    let house = House::start(waits, &config).await;
    let mut rng = Rng::with_seed(6);
    let mut inputs = Vec::new();
    for (name, bytes) in corpus("head") {
        for number in 0..4 {
            inputs.push((format!("{name}, mutation {number}"), mutated(&bytes, &mut rng)));
        }
        inputs.push((name, bytes));
    }
    // Bodies behind a good head, as they are and as what they claim to be.
    for (name, bytes) in corpus("body") {
        let head =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", bytes.len());
        for more in ["", "content-encoding: gzip\r\n", "content-encoding: zstd\r\n"] {
            inputs.push((format!("{name} {more}"), [format!("{head}{more}\r\n").as_bytes(), &bytes].concat()));
        }
    }
    let count = inputs.len();
    for batch in inputs.chunks(64) {
        let all: Vec<_> = batch.iter().map(|(name, bytes)| sent(house.addr, name.clone(), bytes.clone())).collect();
        futures_util::future::join_all(all).await;
    }
    assert_eq!(house.post(&chat("m", false)).await.status, 200, "the door stands");
    let told = within("the end of all connections", async {
        loop {
            let metrics = house.metrics().await;
            let ends: Vec<(String, usize)> = metrics
                .lines()
                .filter_map(|line| {
                    line.strip_prefix("tautline_gateway_connections_closed_total{reason=\"")?.split_once("\"} ")
                })
                .map(|(reason, count)| (reason.to_owned(), count.parse().expect("a number")))
                .collect();
            if ends.iter().map(|(_, count)| count).sum::<usize>() > count {
                return ends;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    println!("{count} heads and bodies: {told:?}");
    assert_eq!(told.iter().map(|(_, count)| count).sum::<usize>(), count + 1, "each once: {told:?}");
    assert!(told.iter().all(|(reason, _)| reason != "internal"), "{told:?}");
    within("the end of all exchanges", house.running.gateway.lifecycle.empty()).await;
    house.running.gateway.settling.sink.flush().await;
    let internal = tautline::gateway::record::RecordQuery {
        cause: Some("internal".to_owned()),
        limit: 10,
        ..tautline::gateway::record::RecordQuery::default()
    };
    let page = tautline::gateway::record::list(&house.running.store, &internal).await.expect("readable");
    assert!(page.records.is_empty(), "{:?}", page.records);
}
