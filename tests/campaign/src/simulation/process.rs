//! One gateway as a process that the simulation plays: what it is polled by, what it is connected through, what time it
//! reads. It is killed and stopped between two polls of its tasks, or at a named point of the engine.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use restore_engine::crash;
use restore_model::{Clock, Timestamp};
use restore_upstream::Platform;
use restore_upstream::platform::{Carried, Hosted};
use tokio::io::DuplexStream;
use tokio::task::{AbortHandle, JoinHandle};

use super::net::Net;
use super::trace::Trace;

thread_local! {
    /// Whose task is being polled.
    static CURRENT: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
}

/// What happens to a process at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It ends there.
    Kill,
    /// It is stopped there for so many milliseconds.
    Stop(u64),
}

/// A point at which something happens to a process.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Its name.
    pub point: &'static str,
    /// Which time it is passed.
    pub time: u32,
    /// What happens.
    pub signal: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Runs,
    Stopped,
    Dead,
}

struct State {
    life: Life,
    /// Counts stops, so that an end of one that is over wakes nobody.
    stops: u32,
    waiting: Vec<Waker>,
    tasks: Vec<AbortHandle>,
    crash: Option<Crash>,
}

/// One process.
pub struct Process {
    /// What it is called in traces.
    pub name: String,
    net: Arc<Net>,
    trace: Arc<Trace>,
    /// Its wall clock minus the true time, in microseconds.
    offset: AtomicI64,
    state: Mutex<State>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Has the engine's points heard of, by all simulations of this program.
pub fn watch_points() {
    crash::watch_with(|point| {
        let current = CURRENT.with_borrow(Clone::clone);
        if let Some(process) = current {
            process.passed(point);
        }
    });
}

impl Process {
    /// A process that runs.
    pub fn new(
        name: String,
        net: Arc<Net>,
        trace: Arc<Trace>,
        offset: i64,
        crash: Option<Crash>,
    ) -> Arc<Self> {
        let state = State { life: Life::Runs, stops: 0, waiting: Vec::new(), tasks: Vec::new(), crash };
        Arc::new(Self { name, net, trace, offset: AtomicI64::new(offset), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.state().life != Life::Dead
    }

    /// Whether it is neither stopped nor dead.
    pub fn is_running(&self) -> bool {
        self.state().life == Life::Runs
    }

    /// Sets its wall clock forward or back.
    pub fn step_clock(&self, micros: i64) {
        self.offset.fetch_add(micros, Ordering::SeqCst);
    }

    /// Its wall clock minus the true time, in microseconds.
    pub fn clock_offset(&self) -> i64 {
        self.offset.load(Ordering::SeqCst)
    }

    /// SIGKILL. Nothing of it goes on; what it was about to do is not done.
    pub fn kill(&self) {
        let tasks = {
            let mut state = self.state();
            state.life = Life::Dead;
            state.waiting.clear();
            std::mem::take(&mut state.tasks)
        };
        for task in tasks {
            task.abort();
        }
    }

    /// SIGSTOP, and SIGCONT after a while.
    pub fn stop_for(self: &Arc<Self>, millis: u64) {
        let stop = {
            let mut state = self.state();
            if state.life != Life::Runs {
                return;
            }
            state.life = Life::Stopped;
            state.stops += 1;
            state.stops
        };
        self.trace.line(|| format!("{} is stopped for {millis} ms", self.name));
        let process = Arc::clone(self);
        // Of the machine, not of the process.
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            process.go_on(stop);
        });
    }

    fn go_on(&self, stop: u32) {
        let waiting = {
            let mut state = self.state();
            if state.life != Life::Stopped || state.stops != stop {
                return;
            }
            state.life = Life::Runs;
            std::mem::take(&mut state.waiting)
        };
        self.trace.line(|| format!("{} goes on", self.name));
        waiting.into_iter().for_each(Waker::wake);
    }

    fn passed(self: &Arc<Self>, point: &'static str) {
        let signal = {
            let mut state = self.state();
            let Some(crash) = state.crash.as_mut().filter(|crash| crash.point == point) else { return };
            crash.time -= 1;
            if crash.time > 0 {
                return;
            }
            let signal = crash.signal;
            state.crash = None;
            signal
        };
        self.trace.line(|| format!("{} reaches {point}: {signal:?}", self.name));
        match signal {
            Signal::Kill => self.kill(),
            Signal::Stop(millis) => self.stop_for(millis),
        }
    }

    fn poll_running(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        match state.life {
            Life::Runs => Poll::Ready(()),
            Life::Stopped => {
                state.waiting.push(context.waker().clone());
                Poll::Pending
            }
            // Nobody will ever wake it.
            Life::Dead => Poll::Pending,
        }
    }

    /// Waits until it runs; for ever once it is dead.
    pub async fn runs(&self) {
        poll_fn(|context| self.poll_running(context)).await;
    }

    /// Begins a task of the process.
    pub fn spawn<F>(self: &Arc<Self>, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let platform: Arc<dyn Platform> = Arc::new(Machine(Arc::clone(self)));
        let spawned = tokio::spawn(Hosted::by(platform, task));
        self.register(spawned.abort_handle());
        spawned
    }

    fn register(&self, task: AbortHandle) {
        let mut state = self.state();
        if state.life == Life::Dead {
            task.abort();
            return;
        }
        if state.tasks.len() > 256 {
            state.tasks.retain(|task| !task.is_finished());
        }
        state.tasks.push(task);
    }
}

/// A process as what the engine runs on.
#[derive(Clone, Debug)]
pub struct Machine(pub Arc<Process>);

impl Platform for Machine {
    fn connect(&self, to: http::Uri) -> BoxFuture<'static, io::Result<Box<dyn Carried>>> {
        let process = Arc::clone(&self.0);
        Box::pin(async move {
            process.runs().await;
            let stream = process.net.connect(&to).await?;
            process.runs().await;
            Ok(Box::new(Line { stream: TokioIo::new(stream), process }) as Box<dyn Carried>)
        })
    }

    fn enter(&self, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.0.poll_running(context));
        CURRENT.with_borrow_mut(|current| *current = Some(Arc::clone(&self.0)));
        Poll::Ready(())
    }

    fn leave(&self) {
        CURRENT.with_borrow_mut(|current| *current = None);
    }

    fn spawned(&self, task: AbortHandle) {
        self.0.register(task);
    }
}

/// A connection of a process. A process that was stopped or killed in the middle of a poll neither reads nor writes.
struct Line {
    stream: TokioIo<DuplexStream>,
    process: Arc<Process>,
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.process.poll_running(context));
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.process.poll_running(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The time that a process reads: its wall clock can be wrong and be set, its monotonic clock is the simulation's.
pub struct ProcessClock(pub Arc<Process>);

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.0.trace.time().plus_micros(self.0.clock_offset())
    }

    fn elapsed(&self) -> Duration {
        self.0.trace.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use restore_simulator::{InMemory, Options};

    use super::*;

    fn process() -> Arc<Process> {
        let clouds = Arc::new(InMemory::new(Options::default(), 1).expect("the clouds are there"));
        Process::new("gateway".to_owned(), Net::new(clouds, 1), Arc::new(Trace::new()), 0, None)
    }

    /// Counts seconds in a task of the process.
    fn counting(process: &Arc<Process>) -> Arc<AtomicU32> {
        let count = Arc::new(AtomicU32::new(0));
        let counts = Arc::clone(&count);
        process.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                counts.fetch_add(1, Ordering::SeqCst);
            }
        });
        count
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_process_does_nothing_while_time_passes() {
        let process = process();
        let count = counting(&process);
        let seconds = |seconds: u64| tokio::time::sleep(Duration::from_millis(seconds * 1_000 + 1));
        seconds(3).await;
        assert_eq!(count.load(Ordering::SeqCst), 3);
        process.stop_for(9_500);
        seconds(9).await;
        assert_eq!(count.load(Ordering::SeqCst), 3);
        // One timer has run off meanwhile; it goes on from there.
        seconds(1).await;
        assert_eq!(count.load(Ordering::SeqCst), 4);
        process.kill();
        seconds(5).await;
        assert_eq!(count.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_reads_its_own_wall_clock_and_the_common_time() {
        let process = process();
        let clock = ProcessClock(Arc::clone(&process));
        let before = (clock.now(), clock.elapsed());
        process.step_clock(7_000_000);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(clock.now().micros_since(before.0), 9_000_000);
        assert_eq!(clock.elapsed() - before.1, Duration::from_secs(2));
    }
}
