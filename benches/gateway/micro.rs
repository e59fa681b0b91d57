//! Nanoseconds of single functions on the path: a loop and a clock.

use crate::upstream::data;
use serde_json::{Map, Value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tautline::boot::config;
use tautline::domain::failure::{Evidence, Observation, classify};
use tautline::gateway::intake::{OnDemand, intake};
use tautline::gateway::plan::plan;
use tautline::gateway::provider::catalog::Catalog;
use tautline::wire::chat::read_chunk;
use tautline::wire::dialect::Dialect;
use tautline::wire::sse::SseDecoder;

const CONF: &str = "[providers.up]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key = \"exec:echo none\"\n\
    [targets.one]\nprovider = \"up\"\nmodel = \"a\"\n[targets.two]\nprovider = \"up\"\nmodel = \"b\"\n\
    [routes.bench]\ntargets = [\"one\", \"two\"]\n";

/// Runs, prints and returns all.
pub fn run(quick: bool) -> Value {
    let span = if quick { Duration::from_millis(20) } else { Duration::from_millis(500) };
    let mut out = Map::new();
    let mut each = |name: &str, of: usize, mut work: Box<dyn FnMut()>| {
        // The best of five: what disturbs only ever adds.
        let best = (0..5).map(|_| once(span / 5, &mut work)).fold(f64::INFINITY, f64::min) / of as f64;
        println!("{:>10}  {name:<44} {best:>10.0} ns", "micro");
        out.insert(name.to_owned(), json!(best.round()));
    };
    let frame = data("\"content\":\" word\"", "null");
    let frames = frame.repeat(100);
    each("SSE decoding, a frame", 100, {
        Box::new(move || {
            let (mut decoder, mut out) = (SseDecoder::new(1 << 20), Vec::new());
            decoder.push(black_box(frames.as_bytes()), &mut out).expect("good frames");
            black_box(out);
        })
    });
    let payload = frame.trim_start_matches("data: ").trim_end().to_owned();
    each("chunk reading", 1, {
        Box::new(move || {
            black_box(read_chunk(black_box(payload.as_bytes())).expect("a good chunk"));
        })
    });
    let loaded = config::parse("the bench", CONF).expect("a good configuration");
    let settings = loaded.gateway;
    let (catalog, on_demand, headers) = (Catalog::default(), OnDemand::default(), http::HeaderMap::new());
    let body = b"{\"model\":\"bench\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]}";
    each("intake and planning, two targets", 1, {
        Box::new(move || {
            let understood = intake(&settings, &catalog, &on_demand, &headers, Dialect::Chat, black_box(body))
                .expect("a good request");
            let planned = plan(&understood.plan_input(&settings));
            black_box(planned.expect("a plan"));
        })
    });
    each("classifying", 1, {
        Box::new(|| {
            let evidence = Evidence::at_door(Observation::Broken { errno: Some(104) }, 12);
            black_box(classify(black_box(&evidence)));
        })
    });
    Value::Object(out)
}

/// Nanoseconds of one call, over a span.
fn once(span: Duration, work: &mut dyn FnMut()) -> f64 {
    let (began, mut calls) = (Instant::now(), 0u32);
    while began.elapsed() < span {
        for _ in 0..32 {
            work();
        }
        calls += 32;
    }
    began.elapsed().as_nanos() as f64 / f64::from(calls)
}
