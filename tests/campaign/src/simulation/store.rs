//! The ledger of a simulation: a real store, which outlives processes, behind what each process has of it. Several share it
//! by leases, as replicas share a database; or one has it to itself, as with a file. It can be away, locked, answer too
//! late, and be put back to an older copy of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use restore_ledger::lease::Term;
use restore_ledger::memory::MemoryLedger;
use restore_ledger::sqlite::SqliteLedger;
use restore_ledger::{
    Accept, AcceptClock, Claim, Delivery, Entry, FeedItem, Hook, Lease, Ledger, LedgerError, MessageRef,
    NewEntry, Outbox, Position, Pruned, Query, Record, Recovery, Unfinished, Waiting,
};
use restore_model::{Clock, Event, EventKind, Intent, ProjectId, RestoreId, Status, Timestamp};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::net::Net;
use super::process::Process;
use super::trace::Trace;

/// How long a process waits for a locked file.
const BUSY: Duration = Duration::from_secs(5);

/// Which store is behind it.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Memory, which keeps so many finished restores.
    Memory(usize),
    /// A SQLite file.
    Sqlite(PathBuf),
}

/// What befalls the ledger for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plight {
    /// It cannot be reached.
    Away,
    /// It is locked: whoever writes waits, five seconds at most.
    Locked,
    /// What is written is written, and the answer is lost.
    Unheard,
}

/// A restore, as it was written down over time.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was asked.
    pub intent: Arc<Intent>,
    /// When it came in.
    pub created: Duration,
    /// When it ended.
    pub finished: Option<Duration>,
    /// How it stands, as far as was written.
    pub entry: Entry,
    /// Whether a person ended it.
    pub by_operator: bool,
    /// When the ledger was put back to a copy that does not have it.
    pub lost: Option<Duration>,
    /// Whether the ledger was put back to a copy in which it stands earlier.
    pub rewound: bool,
}

impl Row {
    /// Whether it was not ended at this moment.
    pub fn is_open_at(&self, at: Duration) -> bool {
        self.created <= at && self.finished.is_none_or(|end| at <= end)
    }
}

/// Everything in a ledger, and every fault that it finds in itself.
///
/// # Errors
/// When it cannot be read.
pub async fn audit(ledger: &dyn Ledger) -> Result<(Vec<Record>, Vec<String>), LedgerError> {
    let mut faults = Vec::new();
    restore_ledger::check(ledger, |fault| faults.push(fault)).await?;
    let mut records: Vec<Record> = Vec::new();
    loop {
        let after = records.last().map(|record| record.entry.intent.id);
        let page = ledger.audit(after, 500).await?;
        if page.is_empty() {
            return Ok((records, faults));
        }
        records.extend(page);
    }
}

/// The store that processes share, or have one after the other.
pub struct Store {
    kind: Kind,
    shared: bool,
    lease: Duration,
    trace: Arc<Trace>,
    net: Arc<Net>,
    helper: Handle,
    state: Mutex<State>,
}

struct State {
    memory: Arc<MemoryLedger>,
    owners: BTreeMap<RestoreId, u64>,
    next_read: BTreeMap<RestoreId, Duration>,
    replicas: BTreeMap<u64, Instant>,
    count: u64,
    plight: Option<(Plight, Instant)>,
    rows: BTreeMap<RestoreId, Row>,
    lost: Vec<Row>,
    copy: Option<Copy>,
    /// The parts of ids that follow from nothing else.
    given: BTreeSet<[u8; 14]>,
}

/// A copy of the ledger, made earlier.
struct Copy {
    records: Vec<Record>,
}

impl Store {
    /// An empty one.
    pub fn new(
        kind: Kind,
        shared: bool,
        lease: Duration,
        (trace, net): (Arc<Trace>, Arc<Net>),
        helper: Handle,
    ) -> Arc<Self> {
        let state = State {
            memory: Arc::new(memory(&kind)),
            owners: BTreeMap::new(),
            next_read: BTreeMap::new(),
            replicas: BTreeMap::new(),
            count: 0,
            plight: None,
            rows: BTreeMap::new(),
            lost: Vec::new(),
            copy: None,
            given: BTreeSet::new(),
        };
        Arc::new(Self { kind, shared, lease, trace, net, helper, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every restore that the ledger has, and those that it lost.
    pub fn rows(&self) -> (Vec<Row>, Vec<Row>) {
        let state = self.state();
        (state.rows.values().cloned().collect(), state.lost.clone())
    }

    /// Has something befall the ledger for so long.
    pub fn befall(&self, plight: Plight, lasts: Duration) {
        self.trace.line(|| format!("the ledger is {plight:?} for {} ms", lasts.as_millis()));
        self.state().plight = Some((plight, Instant::now() + lasts));
    }

    /// Is well again.
    pub fn heal(&self) {
        self.state().plight = None;
    }

    /// Opens it for a process.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub async fn open(self: &Arc<Self>, process: &Arc<Process>) -> Result<Arc<Handed>, LedgerError> {
        let ledger: Arc<dyn Ledger> = match &self.kind {
            Kind::Memory(_) => Arc::clone(&self.state().memory) as Arc<dyn Ledger>,
            Kind::Sqlite(path) => Arc::new(at_once(&self.helper, SqliteLedger::open(path))?),
        };
        let found = match &self.kind {
            Kind::Memory(_) if !self.shared => {
                let status = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
                let mut found = ledger.list(Query { status, limit: usize::MAX, ..Query::default() }).await?;
                found.reverse();
                found
            }
            _ => Vec::new(),
        };
        let now = Instant::now();
        let replica = {
            let mut state = self.state();
            state.count += 1;
            let replica = state.count;
            if self.shared {
                state.replicas.insert(replica, now + self.lease);
            }
            replica
        };
        let handed = Arc::new(Handed {
            store: Arc::clone(self),
            process: Arc::clone(process),
            ledger,
            replica,
            term: Mutex::new(Arc::new(Term::new(now, lasts(self.lease)))),
            found: Mutex::new(found),
        });
        if self.shared {
            let beating = Arc::clone(&handed);
            process.spawn(async move { beating.keep_alive().await });
        }
        Ok(handed)
    }

    /// Makes a copy of what is in memory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn copy(&self) -> Result<(), LedgerError> {
        let memory = Arc::clone(&self.state().memory);
        let records = memory.audit(None, usize::MAX).await?;
        self.trace.line(|| format!("a copy of the ledger is made, with {} restores", records.len()));
        self.state().copy = Some(Copy { records });
        Ok(())
    }

    /// Puts the copy in the place of the ledger, while no process runs. False where there is none, and where a restore of it
    /// cannot be accepted once more: after a clock was set back, an equal one seems to end later than it began. (A copy of
    /// a real ledger is not accepted again, but read.)
    ///
    /// # Errors
    /// When the copy cannot be read back.
    pub async fn put_back(&self) -> Result<bool, LedgerError> {
        let Some(Copy { mut records }) = self.state().copy.take() else { return Ok(false) };
        let fresh = Arc::new(memory(&self.kind));
        records.sort_by_key(|record| {
            (record.entry.intent.created_at, record.entry.state.finished_at, record.entry.intent.id)
        });
        // Those that ended first, so that none finds its target held by an older one.
        records.sort_by_key(|record| !record.entry.state.status.is_final());
        for record in &records {
            let new = NewEntry {
                intent: Intent::clone(&record.entry.intent),
                events: record.events.clone(),
                idempotency_key_ttl_seconds: 0,
                dedup_window_seconds: 0,
                may_keep_key: true,
                clock: None,
            };
            if !matches!(fresh.accept(new).await?, Accept::New(_)) {
                return Ok(false);
            }
        }
        let now = self.trace.elapsed();
        let mut state = self.state();
        let kept: BTreeMap<RestoreId, &Record> =
            records.iter().map(|record| (record.entry.intent.id, record)).collect();
        let rows = std::mem::take(&mut state.rows);
        for (id, mut row) in rows {
            match kept.get(&id) {
                None => {
                    row.lost = Some(now);
                    state.lost.push(row);
                }
                Some(record) => {
                    if record.entry.state.seq != row.entry.state.seq {
                        row.rewound = true;
                        row.entry = record.entry.clone();
                        if !record.entry.state.status.is_final() {
                            row.finished = None;
                        }
                    }
                    state.rows.insert(id, row);
                }
            }
        }
        state.memory = fresh;
        state.owners.clear();
        state.replicas.clear();
        state.next_read.clear();
        drop(state);
        self.trace.line(|| format!("the ledger is put back to a copy with {} restores", records.len()));
        Ok(true)
    }

    /// Takes the file away, while no process runs; what is beside it stays. False where there is none, or nothing is in it.
    pub fn delete(&self) -> bool {
        let Kind::Sqlite(path) = &self.kind else { return false };
        if self.state().rows.is_empty() || std::fs::rename(path, path.with_extension("gone")).is_err() {
            return false;
        }
        for end in ["db-wal", "db-shm"] {
            let _ = std::fs::remove_file(path.with_extension(end));
        }
        self.trace.line(|| "the file of the ledger is deleted".to_owned());
        true
    }

    /// Puts the file back that was taken away: the gateway would not start without it.
    pub fn put_file_back(&self) {
        if let Kind::Sqlite(path) = &self.kind {
            let _ = std::fs::rename(path.with_extension("gone"), path);
        }
    }

    /// The gateways go on with an empty file, which is known.
    pub fn forget_all(&self) {
        let now = self.trace.elapsed();
        let mut state = self.state();
        let rows = std::mem::take(&mut state.rows);
        state.lost.extend(rows.into_values().map(|row| Row { lost: Some(now), ..row }));
    }

    /// Notes what was written.
    fn note(&self, process: &Process, entry: &Entry, events: &[Event], came: bool) {
        let now = self.trace.elapsed();
        let id = entry.intent.id;
        self.trace.line(|| {
            let words: Vec<String> = events.iter().map(told).collect();
            format!(
                "{} writes {} {}: {}",
                process.name,
                short(id),
                entry.state.status.as_str(),
                words.join(", ")
            )
        });
        let mut state = self.state();
        if came {
            let row = Row {
                intent: Arc::clone(&entry.intent),
                created: now,
                finished: None,
                entry: entry.clone(),
                by_operator: false,
                lost: None,
                rewound: false,
            };
            state.rows.insert(id, row);
        }
        let Some(row) = state.rows.get_mut(&id) else { return };
        row.by_operator |= events.iter().any(|event| matches!(event.kind, EventKind::Resolved { .. }));
        if entry.state.status.is_final() && row.finished.is_none() {
            row.finished = Some(now);
        }
        row.entry = entry.clone();
    }

    /// The id of a restore that comes in, the same in every run of a seed. One that follows from another is left alone.
    fn named(&self, id: RestoreId) -> RestoreId {
        let bytes = bytes_of(id);
        let known = |given: &BTreeSet<[u8; 14]>, bytes: &[u8; 16]| {
            bytes.first_chunk::<14>().is_some_and(|first| given.contains(first))
        };
        if known(&self.state().given, &bytes) {
            return id;
        }
        let mut drawn = bytes;
        let random = u128::from(self.net.random(u64::MAX)) << 64 | u128::from(self.net.random(u64::MAX));
        drawn[6..].copy_from_slice(&random.to_be_bytes()[..10]);
        // The version and the variant of a UUID.
        drawn[6] = 0x70 | (drawn[6] & 0x0f);
        drawn[8] = 0x80 | (drawn[8] & 0x3f);
        if let Some(first) = drawn.first_chunk::<14>() {
            self.state().given.insert(*first);
        }
        let hex: String = drawn.iter().map(|byte| format!("{byte:02x}")).collect();
        let dashed = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        dashed.parse().unwrap_or(id)
    }
}

fn bytes_of(id: RestoreId) -> [u8; 16] {
    let hex: String = id.to_string().chars().filter(|char| *char != '-').collect();
    u128::from_str_radix(&hex, 16).unwrap_or_default().to_be_bytes()
}

fn memory(kind: &Kind) -> MemoryLedger {
    match kind {
        Kind::Memory(capacity) => MemoryLedger::with_capacity(*capacity),
        Kind::Sqlite(_) => MemoryLedger::default(),
    }
}

/// A tenth less than the store believes, as with a database.
fn lasts(lease: Duration) -> Duration {
    lease / 10 * 9
}

/// The end of an id, which is enough for people.
pub fn short(id: RestoreId) -> String {
    let text = id.to_string();
    text[text.len() - 6..].to_owned()
}

fn told(event: &Event) -> String {
    let detail = match &event.kind {
        EventKind::OutcomeUnclear { reason, .. } | EventKind::NeedsOperator { reason } => reason.clone(),
        EventKind::Rejected { problem } | EventKind::Failed { problem } => {
            format!("{} {}", problem.code.as_str(), problem.detail)
        }
        EventKind::Anomaly { what } => what.clone(),
        EventKind::Started { task: Some(task), .. } => task.id.clone(),
        EventKind::Resolved { outcome, .. } => format!("{outcome:?}"),
        EventKind::StepEnded { step, outcome, .. } => format!("step {step}: {outcome:?}"),
        EventKind::Rerouted { to, .. } => to.upstream.clone(),
        _ => String::new(),
    };
    if detail.is_empty() {
        event.kind.as_str().to_owned()
    } else {
        format!("{} ({detail})", event.kind.as_str())
    }
}

/// Has a future of another runtime done before this thread goes on: on the paused clock no time passes, and nothing else
/// of the simulation happens meanwhile.
fn at_once<F: Future>(helper: &Handle, task: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut task = std::pin::pin!(task);
    let _entered = helper.enter();
    loop {
        match task.as_mut().poll(&mut context) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// The ledger, as one process has it.
pub struct Handed {
    store: Arc<Store>,
    process: Arc<Process>,
    ledger: Arc<dyn Ledger>,
    replica: u64,
    term: Mutex<Arc<Term>>,
    /// What a file's only process has found unfinished.
    found: Mutex<Vec<Entry>>,
}

impl Handed {
    /// Gives up a file of a process that has ended, so that another can open it.
    pub fn release(&self) {
        if matches!(self.store.kind, Kind::Sqlite(_)) {
            at_once(&self.store.helper, self.ledger.close());
        }
    }

    /// As [`audit`], of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn audit_at_once(&self) -> Result<(Vec<Record>, Vec<String>), LedgerError> {
        at_once(&self.store.helper, audit(&*self.ledger))
    }

    fn term(&self) -> MutexGuard<'_, Arc<Term>> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep_alive(&self) {
        loop {
            tokio::time::sleep(self.store.lease / 3).await;
            self.process.runs().await;
            if self.reach(false).await.is_ok() {
                self.renew();
            }
        }
    }

    /// As with a database: who finds another's lease over strikes it off before taking anything. So where the registration
    /// is still there, nobody came between.
    fn renew(&self) {
        let now = Instant::now();
        let mut state = self.store.state();
        let there = state.replicas.insert(self.replica, now + self.store.lease).is_some();
        drop(state);
        let mut term = self.term();
        if !there {
            term.end();
        }
        if !term.prolong(now, lasts(self.store.lease)) {
            *term = Arc::new(Term::new(now, lasts(self.store.lease)));
        }
    }

    /// What every transaction of a shared ledger begins with.
    fn begin(&self) {
        if !self.store.shared {
            return;
        }
        let current =
            self.store.state().replicas.get(&self.replica).is_some_and(|until| *until > Instant::now());
        if !current {
            self.renew();
        }
    }

    fn strike_off(&self) {
        let now = Instant::now();
        self.store.state().replicas.retain(|_, until| *until >= now);
    }

    /// Gets to the ledger, or learns that it cannot be reached. Whether what is written will not be heard of.
    async fn reach(&self, writes: bool) -> Result<bool, LedgerError> {
        self.process.runs().await;
        if self.store.shared && self.store.net.random(4) == 0 {
            let millis = self.store.net.random(4);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            self.process.runs().await;
        }
        let now = Instant::now();
        let plight = self.store.state().plight.filter(|(_, until)| now < *until);
        match plight {
            None => Ok(false),
            Some((Plight::Away, _)) => Err(LedgerError::Unavailable("it is away".to_owned())),
            Some((Plight::Locked, _)) if !writes => Ok(false),
            Some((Plight::Locked, until)) => {
                tokio::time::sleep_until(until.min(now + BUSY)).await;
                self.process.runs().await;
                if Instant::now() < until {
                    return Err(LedgerError::Unavailable("the file is locked".to_owned()));
                }
                Ok(false)
            }
            // A file tells what became of a write; a database that breaks off does not.
            Some((Plight::Unheard, _)) => Ok(writes && self.store.shared),
        }
    }

    /// One call of the store.
    fn call<'a, T: Send + 'a>(
        &'a self,
        writes: bool,
        ask: impl FnOnce(&'a dyn Ledger) -> BoxFuture<'a, Result<T, LedgerError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, LedgerError>> {
        Box::pin(async move {
            let unheard = self.reach(writes).await?;
            if writes {
                self.begin();
            }
            let answer = self.ask(ask(&*self.ledger)).await;
            self.process.runs().await;
            if unheard { Err(LedgerError::Unavailable("the connection broke".to_owned())) } else { answer }
        })
    }

    async fn ask<T>(&self, asked: BoxFuture<'_, Result<T, LedgerError>>) -> Result<T, LedgerError> {
        match self.store.kind {
            Kind::Memory(_) => asked.await,
            Kind::Sqlite(_) => at_once(&self.store.helper, asked),
        }
    }

    fn owner(&self, id: RestoreId) -> Option<u64> {
        let state = self.store.state();
        state.owners.get(&id).copied().filter(|owner| state.replicas.contains_key(owner))
    }
}

macro_rules! as_kept {
    ($($writes:literal $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $name<'a>(&'a self, $($argument: $kind),*) -> BoxFuture<'a, Result<$answer, LedgerError>> {
            self.call($writes, move |ledger| ledger.$name($($argument),*))
        })*
    };
}

/// A clock that stands still.
struct Moment(Timestamp);

impl Clock for Moment {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Whether a claim is about this restore.
fn is_of(which: Claim, entry: &Entry) -> bool {
    which == Claim::All || Claim::BEFORE_ANSWER.contains(&entry.state.status)
}

impl Ledger for Handed {
    fn accept(&self, new: NewEntry) -> BoxFuture<'_, Result<Accept, LedgerError>> {
        Box::pin(async move {
            let unheard = self.reach(true).await?;
            self.begin();
            let mut new = new;
            new.intent.id = self.store.named(new.intent.id);
            // A file is written by a thread where the clock of the simulation cannot be read.
            new.clock = new.clock.map(|AcceptClock(clock)| AcceptClock(Arc::new(Moment(clock.now()))));
            let mut events = new.events.clone();
            let accepted = self.ask(self.ledger.accept(new)).await?;
            if let Accept::New(entry) = &accepted {
                events.iter_mut().for_each(|event| event.at = entry.intent.created_at);
                self.store.note(&self.process, entry, &events, true);
                // Whoever was not heard of works on nothing: it is anybody's to claim.
                if !unheard {
                    self.store.state().owners.insert(entry.intent.id, self.replica);
                }
            }
            self.process.runs().await;
            if unheard {
                Err(LedgerError::Unavailable("the connection broke".to_owned()))
            } else {
                Ok(accepted)
            }
        })
    }

    fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> BoxFuture<'_, Result<Entry, LedgerError>> {
        Box::pin(async move {
            let unheard = self.reach(true).await?;
            self.begin();
            let sends = events.iter().any(|event| matches!(event.kind, EventKind::Submitting { .. }));
            if self.store.shared && sends && self.owner(id) != Some(self.replica) {
                return Err(LedgerError::NotHeld(id));
            }
            let entry = self.ask(self.ledger.append(id, seen, events.clone())).await?;
            self.store.note(&self.process, &entry, &events, false);
            self.process.runs().await;
            if unheard { Err(LedgerError::Unavailable("the connection broke".to_owned())) } else { Ok(entry) }
        })
    }

    fn claim(&self, which: Claim, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async move {
            self.reach(true).await?;
            if matches!(self.store.kind, Kind::Sqlite(_)) {
                return self.ask(self.ledger.claim(which, limit)).await;
            }
            if !self.store.shared {
                let claimed: Vec<RestoreId> = {
                    let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                    let claimed = found.iter().filter(|entry| is_of(which, entry)).take(limit);
                    let claimed: Vec<RestoreId> = claimed.map(|entry| entry.intent.id).collect();
                    found.retain(|entry| !claimed.contains(&entry.intent.id));
                    claimed
                };
                let mut open = Vec::new();
                for id in claimed {
                    open.extend(self.ledger.get(id).await?.filter(|entry| !entry.state.status.is_final()));
                }
                return Ok(open);
            }
            self.begin();
            self.strike_off();
            let status = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
            let query = Query { status, limit: usize::MAX, ..Query::default() };
            let mut open = self.ledger.list(query).await?;
            open.reverse();
            open.retain(|entry| is_of(which, entry) && self.owner(entry.intent.id).is_none());
            open.truncate(limit);
            let mut state = self.store.state();
            for entry in &open {
                state.owners.insert(entry.intent.id, self.replica);
            }
            Ok(open)
        })
    }

    fn claim_one(&self, id: RestoreId) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(async move {
            self.reach(true).await?;
            if matches!(self.store.kind, Kind::Sqlite(_)) {
                return self.ask(self.ledger.claim_one(id)).await;
            }
            if !self.store.shared {
                let found = {
                    let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                    let before = found.len();
                    found.retain(|entry| entry.intent.id != id);
                    found.len() < before
                };
                let entry = if found { self.ledger.get(id).await? } else { None };
                return Ok(entry.filter(|entry| !entry.state.status.is_final()));
            }
            self.begin();
            self.strike_off();
            let entry = self.ledger.get(id).await?.filter(|entry| !entry.state.status.is_final());
            if entry.is_none() || self.owner(id).is_some() {
                return Ok(None);
            }
            self.store.state().owners.insert(id, self.replica);
            Ok(entry)
        })
    }

    fn take(&self, id: RestoreId) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.reach(true).await?;
            if !self.store.shared {
                return self.ask(self.ledger.take(id)).await;
            }
            self.begin();
            self.strike_off();
            if !self.ledger.take(id).await? || self.owner(id).is_some_and(|owner| owner != self.replica) {
                return Ok(false);
            }
            self.store.state().owners.insert(id, self.replica);
            Ok(true)
        })
    }

    fn lease(&self) -> Lease {
        if self.store.shared { Lease::of(Arc::clone(&self.term())) } else { Lease::for_good() }
    }

    fn reserve_read(&self, id: RestoreId, interval: Duration) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.reach(true).await?;
            if !self.store.shared {
                return Ok(true);
            }
            // By the one clock of the store: those of processes are not comparable.
            let now = self.store.trace.elapsed();
            let mut state = self.store.state();
            if state.next_read.get(&id).is_some_and(|next| *next > now) {
                return Ok(false);
            }
            state.next_read.insert(id, now + interval);
            Ok(true)
        })
    }

    fn is_shared(&self) -> bool {
        self.store.shared
    }

    fn processes(&self) -> BoxFuture<'_, Result<usize, LedgerError>> {
        Box::pin(async move {
            self.reach(false).await?;
            let now = Instant::now();
            let state = self.store.state();
            Ok(state.replicas.values().filter(|until| **until > now).count().max(1))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.term().end();
            self.store.state().replicas.remove(&self.replica);
        })
    }

    as_kept! {
        false get(id: RestoreId) -> Option<Entry>;
        false events(id: RestoreId) -> Vec<Event>;
        false list(query: Query) -> Vec<Entry>;
        false feed(after: Position, limit: usize) -> Vec<FeedItem>;
        false position() -> Position;
        false keys(caller: &'a str, at_most: usize) -> usize;
        true prune(restores: Option<Timestamp>, keys: Timestamp, limit: usize) -> Pruned;
        false audit(after: Option<RestoreId>, limit: usize) -> Vec<Record>;
        false recovery() -> Option<Recovery>;
        true set_recovery(recovery: Option<Recovery>) -> ();
        false task_holder(project: &'a ProjectId, task: &'a str) -> Option<RestoreId>;
        true ready() -> ();
        false unfinished() -> Unfinished;
    }
}

impl Outbox for Handed {
    as_kept! {
        false hook(name: &'a str) -> Option<Hook>;
        true post(name: &'a str, from: Option<Position>, to: Position, message_refs: Vec<MessageRef>) -> bool;
        true due(name: &'a str, now: Timestamp, reserve: Duration, limit: usize) -> Vec<Delivery>;
        false next_due(name: &'a str) -> Option<Timestamp>;
        true delivered(name: &'a str, message_ref: MessageRef) -> ();
        true put_off(name: &'a str, message_ref: MessageRef, attempts: u32, until: Timestamp, why: String) -> ();
        true give_up(name: &'a str, message_ref: MessageRef, why: String) -> ();
        true set_disabled(name: &'a str, why: Option<String>) -> ();
        false waiting(name: &'a str) -> Waiting;
    }
}
