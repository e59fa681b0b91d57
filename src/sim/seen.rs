//! What the simulator was asked, and how each exchange ended.
//!
//! Owns the request log. Refuses sockets. Invariant: bounded in entries and in
//! body bytes, the oldest go first; every change wakes whoever waits for one.

use super::fault::Fault;
use crate::domain::failure::closed_enum;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Instant;
use tokio::sync::watch;

/// Bodies kept in the log, together, in bytes as received.
const SEEN_BYTES_MAX: usize = 256 * 1024 * 1024;

closed_enum! {
    /// How an exchange ended.
    Ended {
        /// The answer was written as a good provider would.
        Complete => "complete",
        /// The fault was played to its end.
        FaultDone => "fault_done",
        /// The peer closed or reset before that.
        PeerClosed => "peer_closed",
        /// The simulator was stopped before that.
        Stopped => "stopped",
    }
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Order of arrival, from 1; also the `n` of `x-request-id: sim-n`.
    pub id: u64,
    /// The `model` of the body; empty where there is none.
    pub model: String,
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// `Null` for a body that is absent, no JSON, or was answered before its end.
    pub body: Value,
    pub body_bytes: usize,
    pub bearer: Option<String>,
    /// The key, whether it came as bearer, `x-api-key` or `api-key`.
    pub key: Option<String>,
    /// The fault that struck; `None` for one that was spared by `first` or `p`.
    pub fault: Option<Fault>,
    /// `None` while it goes on.
    pub ended: Option<Ended>,
    pub at: Instant,
    /// `data:` frames written.
    pub frames_sent: u64,
}

impl Seen {
    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "model": self.model,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "body": self.body,
            "body_bytes": self.body_bytes,
            "bearer": self.bearer,
            "key": self.key,
            "fault": self.fault,
            "ended": self.ended,
            "age_ms": u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX),
            "frames_sent": self.frames_sent,
        })
    }
}

/// The log, shared by all connections of one simulator.
pub(super) struct Log {
    entries: Mutex<Entries>,
    changed: watch::Sender<u64>,
    max: usize,
}

#[derive(Default)]
struct Entries {
    list: VecDeque<Seen>,
    last_id: u64,
    bytes: usize,
}

impl Log {
    pub fn new(max: usize) -> Self {
        Self { entries: Mutex::default(), changed: watch::Sender::new(0), max: max.max(1) }
    }

    /// Writes a request down and gives it its id.
    pub fn arrived(&self, mut seen: Seen) -> u64 {
        let id = {
            let mut entries = self.entries.lock();
            entries.last_id += 1;
            seen.id = entries.last_id;
            entries.bytes += seen.body_bytes;
            entries.list.push_back(seen);
            while entries.list.len() > 1 && (entries.list.len() > self.max || entries.bytes > SEEN_BYTES_MAX) {
                let bytes = entries.list.pop_front().map_or(0, |oldest| oldest.body_bytes);
                entries.bytes -= bytes;
            }
            entries.last_id
        };
        self.wake();
        id
    }

    pub fn frames(&self, id: u64, sent: u64) {
        self.update(id, |seen| seen.frames_sent += sent);
    }

    pub fn ended(&self, id: u64, ended: Ended) {
        self.update(id, |seen| seen.ended = Some(ended));
    }

    pub fn snapshot(&self) -> Vec<Seen> {
        self.entries.lock().list.iter().cloned().collect()
    }

    pub fn to_json(&self) -> Value {
        self.entries.lock().list.iter().map(Seen::to_json).collect()
    }

    /// Waits until `at_least` entries satisfy `pred`. It is cancel safe, and
    /// ends by its condition alone: the caller bounds it.
    pub async fn wait(&self, at_least: usize, pred: impl Fn(&Seen) -> bool) {
        let mut changed = self.changed.subscribe();
        // Subscribed before the first look, so no change falls in between.
        while self.entries.lock().list.iter().filter(|seen| pred(seen)).count() < at_least {
            changed.changed().await.expect("the sender lives in self");
        }
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Seen)) {
        {
            let mut entries = self.entries.lock();
            let Some(place) = entries.list.front().and_then(|oldest| id.checked_sub(oldest.id)) else {
                return;
            };
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            if let Some(seen) = entries.list.get_mut(place) {
                change(seen);
            }
        }
        self.wake();
    }

    fn wake(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            id: 0,
            model: "sim".to_owned(),
            method: "POST".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            query: None,
            headers: Vec::new(),
            body: Value::Null,
            body_bytes: 10,
            bearer: None,
            key: None,
            fault: None,
            ended: None,
            at: Instant::now(),
            frames_sent: 0,
        }
    }

    #[tokio::test]
    async fn the_oldest_go_first_and_late_news_of_them_is_dropped() {
        let log = Log::new(2);
        let ids = [(); 3].map(|()| log.arrived(seen()));
        assert_eq!(ids, [1, 2, 3]);
        log.ended(1, Ended::Complete);
        log.ended(3, Ended::PeerClosed);
        log.wait(1, |seen| seen.ended == Some(Ended::PeerClosed)).await;
        let kept: Vec<_> = log.snapshot().iter().map(|seen| (seen.id, seen.ended)).collect();
        assert_eq!(kept, [(2, None), (3, Some(Ended::PeerClosed))]);
    }
}
