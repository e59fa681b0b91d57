//! The frames an exchange produced so far, and who has read how many of them.
//!
//! Owns the bounded buffer between one driver and any number of readers; how
//! what was read is kept small is `packed`'s. Refuses sockets and clocks. Invariants: frames keep their order; once a
//! reader has taken content, nothing is taken back (`shown`); what no attached
//! reader needs any more is dropped only when the bound demands it.

mod packed;

use crate::gateway::settle::Settlement;
use crate::wire::sse::SseFrame;
use bytes::Bytes;
use packed::Packed;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A frame of the dialect.
    Frame(SseFrame),
    /// An unstreamed answer, byte for byte.
    Whole(Bytes),
    /// A line for those who asked for `x-tautline-report`.
    Note(String),
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.data.len() + frame.event.as_ref().map_or(0, Bytes::len),
            Self::Whole(body) => body.len(),
            Self::Note(text) => text.len(),
        }
    }
}

/// How the answer ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// Complete; the report goes along where it was asked for.
    Complete { report: Option<serde_json::Value> },
    /// An error instead of the answer, or, once headers are out, in the middle
    /// of it.
    Error(ErrorAnswer),
}

/// An error as it goes to the client.
#[derive(Debug, Clone)]
pub struct ErrorAnswer {
    pub status: u16,
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub body: Bytes,
    /// A whole stream with 200 that tells the same, where the vendor tells it so.
    pub in_stream: Option<Bytes>,
}

/// What the response headers say at the moment they are sent.
#[derive(Debug, Clone, Default)]
pub struct HeadFacts {
    /// They went out with 200 already, before any content.
    pub sent: bool,
    pub target: String,
    pub task: String,
    pub attempts: usize,
    pub warnings: Vec<String>,
    /// What the provider tells its own user, under `auth = "client"`.
    pub provider_headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

/// Why the last reader went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    Gone,
    Stalled,
}

/// The journal of one exchange. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// What every attached reader has taken, and behind it what some have not.
    packed: Packed,
    fresh: Vec<Entry>,
    /// Number of the first entry in `packed`, counted from the exchange's start.
    base: u64,
    bytes: usize,
    bytes_max: usize,
    /// Rises with each fresh start.
    epoch: u32,
    shown: bool,
    head: HeadFacts,
    ending: Option<Ending>,
    readers: Vec<Slot>,
    next_reader: u32,
    writer: Option<Waker>,
    departure: Option<Departure>,
    /// Whoever delivers the answer settles the exchange.
    awaits_delivery: bool,
    settlement: Option<Box<Settlement>>,
}

#[derive(Debug)]
struct Slot {
    id: u32,
    cursor: u64,
    epoch: u32,
    waker: Option<Waker>,
}

/// What a reader gets at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// Forget what was collected: the answer began anew (only while nothing was shown).
    pub reset: bool,
    pub entries: Vec<Entry>,
    /// Nothing follows these entries.
    pub ending: Option<Ending>,
}

impl Journal {
    /// An empty journal that holds at most `bytes_max` bytes of payload, plus
    /// the one batch that passed the bound.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            packed: Packed::default(),
            fresh: Vec::new(),
            base: 0,
            bytes: 0,
            bytes_max,
            epoch: 0,
            shown: false,
            head: HeadFacts::default(),
            ending: None,
            readers: Vec::new(),
            next_reader: 0,
            writer: None,
            departure: None,
            awaits_delivery: false,
            settlement: None,
        })))
    }

    /// Appends entries and wakes the readers.
    pub fn append(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut inner = self.0.lock();
        for entry in entries {
            inner.bytes += entry.bytes();
            inner.fresh.push(entry);
        }
        inner.wake_readers();
    }

    /// Takes a lost attempt's frames out again. Returns false, and does
    /// nothing, once something was shown.
    #[must_use]
    pub fn start_afresh(&self) -> bool {
        let mut inner = self.0.lock();
        if inner.shown {
            return false;
        }
        // Notes are no part of the answer: those that nobody has read stay.
        let unread = inner.slowest().map_or(0, |cursor| cursor.saturating_sub(inner.base));
        let unread = usize::try_from(unread).unwrap_or(usize::MAX);
        let mut notes = inner.entries_from(unread);
        notes.retain(|entry| matches!(entry, Entry::Note(_)));
        inner.packed = Packed::default();
        inner.bytes = notes.iter().map(Entry::bytes).sum();
        inner.fresh = notes;
        inner.base = 0;
        inner.epoch += 1;
        inner.wake_readers();
        true
    }

    /// Whether content was given to a reader that shows it.
    #[must_use]
    pub fn shown(&self) -> bool {
        self.0.lock().shown
    }

    /// All frames so far. `None`: some were dropped for room.
    #[must_use]
    pub fn frames(&self) -> Option<Vec<SseFrame>> {
        let inner = self.0.lock();
        let entries = (inner.base == 0).then(|| inner.entries_from(0))?;
        let frame = |entry| if let Entry::Frame(frame) = entry { Some(frame) } else { None };
        Some(entries.into_iter().filter_map(frame).collect())
    }

    /// What headers would say now.
    pub fn set_head(&self, change: impl FnOnce(&mut HeadFacts)) {
        change(&mut self.0.lock().head);
    }

    #[must_use]
    pub fn head(&self) -> HeadFacts {
        self.0.lock().head.clone()
    }

    /// Ends the answer; later calls change nothing.
    pub fn end(&self, ending: Ending) {
        let mut inner = self.0.lock();
        if inner.ending.is_none() {
            inner.ending = Some(ending);
        }
        inner.wake_readers();
    }

    /// Ready once there is room for more. Frames behind every attached cursor
    /// are dropped for it, and only then.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.lock();
        if inner.make_room() {
            return Poll::Ready(());
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Attaches a reader at the entry counted `from` the start. `None` when
    /// that entry was dropped already.
    #[must_use]
    pub fn attach(&self, from: u64) -> Option<Reader> {
        let mut inner = self.0.lock();
        if from < inner.base {
            return None;
        }
        let id = inner.next_reader;
        inner.next_reader += 1;
        let epoch = inner.epoch;
        inner.readers.push(Slot { id, cursor: from, epoch, waker: None });
        Some(Reader { journal: self.clone(), id, beside_driver: false })
    }

    /// From now on the exchange is settled by its first reader, which calls
    /// [`Self::delivered`] when it is done.
    pub fn await_delivery(&self) {
        self.0.lock().awaits_delivery = true;
    }

    /// The driver is done: settles now, or when the first reader is done, too.
    pub fn settle(&self, settlement: Settlement) {
        let mut inner = self.0.lock();
        if inner.awaits_delivery {
            inner.settlement = Some(Box::new(settlement));
        } else {
            drop(inner);
            settlement.delivered(None);
        }
    }

    /// The first reader is done: settles what the driver left to settle.
    pub fn delivered(&self) {
        let (settlement, departure) = {
            let mut inner = self.0.lock();
            inner.awaits_delivery = false;
            (inner.settlement.take(), inner.departure)
        };
        if let Some(settlement) = settlement {
            settlement.delivered(departure);
        }
    }

    /// Why the last reader went, if it said so.
    #[must_use]
    pub fn departure(&self) -> Option<Departure> {
        self.0.lock().departure
    }
}

impl Inner {
    fn wake_readers(&mut self) {
        for slot in &mut self.readers {
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// The cursor of the reader that is furthest behind.
    fn slowest(&self) -> Option<u64> {
        // A reader that has not heard of a fresh start has read nothing of it: its
        // cursor still counts the lost attempt's entries.
        self.readers.iter().map(|slot| if slot.epoch == self.epoch { slot.cursor } else { self.base }).min()
    }

    /// The entries from the one at `skip` on.
    fn entries_from(&self, skip: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        if skip < self.packed.len() {
            self.packed.unpack(skip, &mut entries);
        }
        let skip = skip.saturating_sub(self.packed.len());
        entries.extend(self.fresh.iter().skip(skip).cloned());
        entries
    }

    /// Packs what lies before `cursor`.
    fn pack(&mut self, cursor: u64) {
        let read = usize::try_from(cursor.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let read = read.saturating_sub(self.packed.len()).min(self.fresh.len());
        for entry in self.fresh.drain(..read) {
            self.packed.push(&entry);
        }
    }

    /// What a reader that stands `skip` entries behind `base` has not taken.
    fn take(&mut self, skip: usize) -> Vec<Entry> {
        if self.readers.len() > 1 || skip != self.packed.len() {
            return self.entries_from(skip);
        }
        // The only reader, and with the driver: what it takes is copied nowhere but into the pack.
        for entry in &self.fresh {
            self.packed.push(entry);
        }
        std::mem::take(&mut self.fresh)
    }

    fn make_room(&mut self) -> bool {
        if self.bytes < self.bytes_max {
            return true;
        }
        if let Some(slowest) = self.slowest() {
            self.pack(slowest);
            while self.base < slowest
                && let Some(dropped) = self.packed.drop_first()
            {
                self.bytes -= dropped;
                self.base += 1;
            }
        }
        self.bytes < self.bytes_max
    }
}

/// Someone who receives the answer. Dropping it detaches it.
#[derive(Debug)]
pub struct Reader {
    journal: Journal,
    id: u32,
    beside_driver: bool,
}

impl Reader {
    /// Whoever polls this polls the driver before it each time: it need not be woken
    /// by what that appends, which would have everything polled once more for nothing.
    pub const fn stay_beside_driver(&mut self) {
        self.beside_driver = true;
    }

    /// What is new since the last call; pends while there is nothing.
    /// `shows`: content taken here counts as shown. Cancel-safe.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>, shows: bool) -> Poll<Batch> {
        let mut guard = self.journal.0.lock();
        let inner = &mut *guard;
        let Some(place) = inner.readers.iter().position(|slot| slot.id == self.id) else {
            return Poll::Ready(Batch::default());
        };
        let slot = &mut inner.readers[place];
        let mut batch = Batch { reset: slot.epoch != inner.epoch, ..Batch::default() };
        if batch.reset {
            slot.epoch = inner.epoch;
            slot.cursor = inner.base;
        }
        let skip = usize::try_from(slot.cursor.saturating_sub(inner.base)).unwrap_or(usize::MAX);
        batch.entries = inner.take(skip);
        batch.ending.clone_from(&inner.ending);
        let slot = &mut inner.readers[place];
        slot.cursor += batch.entries.len() as u64;
        if batch.entries.is_empty() && batch.ending.is_none() && !batch.reset {
            slot.waker = (!self.beside_driver).then(|| cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(slowest) = inner.slowest() {
            inner.pack(slowest);
        }
        inner.shown |= shows && batch.entries.iter().any(|entry| !matches!(entry, Entry::Note(_)));
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
        Poll::Ready(batch)
    }

    /// [`Self::poll_batch`] as a future. Cancel-safe.
    pub async fn batch(&mut self, shows: bool) -> Batch {
        std::future::poll_fn(|cx| self.poll_batch(cx, shows)).await
    }

    /// Entries taken so far, counted from the exchange's start.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        let inner = self.journal.0.lock();
        inner.readers.iter().find(|slot| slot.id == self.id).map_or(0, |slot| slot.cursor)
    }

    /// The journal this reads.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Marks an answer that is sent as a whole as shown: its first byte is
    /// about to be written. Returns false when it began anew meanwhile.
    #[must_use]
    pub fn commit(&self) -> bool {
        let mut inner = self.journal.0.lock();
        let current = inner.epoch;
        let same = inner.readers.iter().any(|slot| slot.id == self.id && slot.epoch == current);
        inner.shown |= same;
        same
    }

    /// Says why this reader goes, for the record.
    pub fn depart(&self, departure: Departure) {
        self.journal.0.lock().departure = Some(departure);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.journal.0.lock();
        let id = self.id;
        inner.readers.retain(|slot| slot.id != id);
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn frame(text: &str) -> Entry {
        Entry::Frame(SseFrame { event: None, data: Bytes::from(text.to_owned()) })
    }

    fn poll(reader: &mut Reader, shows: bool) -> Option<Batch> {
        match reader.poll_batch(&mut Context::from_waker(Waker::noop()), shows) {
            Poll::Ready(batch) => Some(batch),
            Poll::Pending => None,
        }
    }

    fn room(journal: &Journal) -> bool {
        journal.poll_room(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn each_reader_gets_everything_once_and_in_order() {
        let journal = Journal::new(1000);
        let mut first = journal.attach(0).expect("new");
        journal.append([frame("a"), frame("b")]);
        assert_eq!(poll(&mut first, true).expect("ready").entries, [frame("a"), frame("b")]);
        assert!(poll(&mut first, true).is_none());
        let mut second = journal.attach(1).expect("kept");
        journal.append([frame("c")]);
        journal.end(Ending::Complete { report: None });
        assert_eq!(poll(&mut first, true).expect("ready").entries, [frame("c")]);
        let rest = poll(&mut second, true).expect("ready");
        assert_eq!(rest.entries, [frame("b"), frame("c")]);
        assert!(matches!(rest.ending, Some(Ending::Complete { .. })));
    }

    #[test]
    fn a_fresh_start_resets_readers_and_is_refused_once_something_was_shown() {
        let journal = Journal::new(1000);
        let mut reader = journal.attach(0).expect("new");
        journal.append([frame("lost")]);
        assert_eq!(poll(&mut reader, false).expect("ready").entries.len(), 1);
        assert!(journal.start_afresh());
        journal.append([frame("new")]);
        let batch = poll(&mut reader, true).expect("ready");
        assert!(batch.reset);
        assert_eq!(batch.entries, [frame("new")]);
        assert!(!journal.start_afresh());
    }

    #[test]
    fn a_fresh_start_keeps_the_notes_that_nobody_has_read() {
        let journal = Journal::new(1000);
        let mut reader = journal.attach(0).expect("new");
        let note = |text: &str| Entry::Note(text.to_owned());
        journal.append([note("read")]);
        assert!(poll(&mut reader, false).is_some());
        journal.append([frame("lost"), note("first lost")]);
        assert!(journal.start_afresh());
        journal.append([note("second lost")]);
        assert!(journal.start_afresh());
        journal.append([frame("new")]);
        let batch = poll(&mut reader, false).expect("ready");
        assert_eq!(batch.entries, [note("first lost"), note("second lost"), frame("new")]);
    }

    #[test]
    fn a_note_shows_nothing() {
        let journal = Journal::new(1000);
        let mut reader = journal.attach(0).expect("new");
        journal.append([Entry::Note("x".into())]);
        assert!(poll(&mut reader, true).is_some());
        assert!(!journal.shown());
    }

    #[test]
    fn a_full_journal_drops_what_all_have_read_and_else_holds_the_driver() {
        let journal = Journal::new(4);
        let mut fast = journal.attach(0).expect("new");
        let slow = journal.attach(0).expect("new");
        journal.append([frame("abc"), frame("def")]);
        assert!(poll(&mut fast, true).is_some());
        assert!(!room(&journal), "the slow reader still needs them");
        drop(slow);
        assert!(room(&journal));
        assert!(journal.attach(0).is_none(), "what was dropped cannot be read again");
        assert!(journal.attach(2).is_some());
    }

    #[test]
    fn what_follows_a_fresh_start_is_kept_for_a_reader_that_has_not_heard_of_it() {
        let journal = Journal::new(4);
        let mut reader = journal.attach(0).expect("new");
        journal.append([frame("a"), frame("b")]);
        assert_eq!(poll(&mut reader, false).expect("ready").entries.len(), 2);
        assert!(journal.start_afresh());
        journal.append([frame("new"), frame("words")]);
        assert!(!room(&journal), "the cursor of the lost attempt says nothing about these");
        assert_eq!(poll(&mut reader, false).expect("ready").entries, [frame("new"), frame("words")]);
        assert!(room(&journal));
    }

    #[test]
    fn a_whole_answer_that_began_anew_is_not_committed() {
        let journal = Journal::new(100);
        let mut reader = journal.attach(0).expect("new");
        journal.append([frame("a")]);
        let _ = poll(&mut reader, false);
        assert!(journal.start_afresh());
        assert!(!reader.commit());
        let _ = poll(&mut reader, false);
        assert!(reader.commit());
        assert!(journal.shown());
    }
}
