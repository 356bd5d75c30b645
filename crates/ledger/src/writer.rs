//! The writer: a queue and one task. The task takes all waiting writes, has its [`Store`] commit them as one group with
//! one sync to the disk, and only then answers them (I7). While the disk works the next group gathers, so the slower a
//! sync is, the more writes share one.

use std::future::Future;

use restore_model::{Event, RestoreId};
use tokio::sync::{mpsc, oneshot};

use crate::book::Coming;
use crate::group::{Answer, Failure, Side, Write, Written};
use crate::{Accept, Delivery, Entry, LedgerError, NewEntry, Pruned};

/// Maximum number of writes in one transaction.
const GROUP: usize = 256;
/// Maximum number of waiting writes. Beyond it, a write is rejected at once, so that memory stays bounded while the
/// store is unavailable.
const QUEUE: usize = 4096;

/// The store that commits groups.
pub(crate) trait Store: Send + 'static {
    /// Commits all writes in one transaction and answers each. On failure, no write of the group is left behind as far
    /// as this process can see, and the store is ready for the next call.
    fn commit(&mut self, group: &[&Write]) -> impl Future<Output = Result<Vec<Answer>, Failure>> + Send;

    /// Releases the resources of the store.
    fn close(self) -> impl Future<Output = ()> + Send;
}

#[derive(Debug)]
enum Job {
    Write(Write, oneshot::Sender<Answer>),
    Close(oneshot::Sender<()>),
}

/// The queue to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// `None` if the ledger was opened read-only.
    jobs: Option<mpsc::Sender<Job>>,
}

impl Queue {
    /// Starts a writer. It ends when it is closed or every queue to it is dropped; writes in the queue are still
    /// written.
    pub(crate) fn to(store: impl Store) -> Self {
        let (jobs, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(Writer { store, jobs: receiver }.run());
        Self { jobs: Some(jobs) }
    }

    /// A queue without a writer: every write is rejected.
    pub(crate) const fn to_nowhere() -> Self {
        Self { jobs: None }
    }

    async fn write(&self, write: Write) -> Answer {
        let closed = || LedgerError::Unavailable("it is closed".to_owned());
        let Some(jobs) = &self.jobs else {
            return Err(only_to_be_read());
        };
        let (answer, outcome) = oneshot::channel();
        match jobs.try_send(Job::Write(write, answer)) {
            Ok(()) => outcome.await.map_err(|_| closed())?,
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(LedgerError::Unavailable(format!("{QUEUE} writes wait already")))
            }
        }
    }

    pub(crate) async fn accept(&self, new: NewEntry) -> Result<Accept, LedgerError> {
        match self.write(Write::Accept(Box::new(Coming::of(new)))).await? {
            Written::Accept(accept) => Ok(accept),
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) async fn append(
        &self,
        id: RestoreId,
        seen: u32,
        events: Vec<Event>,
    ) -> Result<Entry, LedgerError> {
        match self.write(Write::Append { id, seen, events }).await? {
            Written::Append(entry) => Ok(entry),
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) async fn touch(&self) -> Result<(), LedgerError> {
        self.write(Write::Touch).await.map(|_| ())
    }

    pub(crate) async fn prune(&self, side: Side) -> Result<Pruned, LedgerError> {
        match self.write(Write::Side(side)).await? {
            Written::Pruned(pruned) => Ok(pruned),
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) async fn post(&self, side: Side) -> Result<bool, LedgerError> {
        match self.write(Write::Side(side)).await? {
            Written::Posted(posted) => Ok(posted),
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) async fn due(&self, side: Side) -> Result<Vec<Delivery>, LedgerError> {
        match self.write(Write::Side(side)).await? {
            Written::Deliveries(deliveries) => Ok(deliveries),
            other => Err(mismatch(&other)),
        }
    }

    /// Executes a write without a result.
    pub(crate) async fn carry_out(&self, side: Side) -> Result<(), LedgerError> {
        self.write(Write::Side(side)).await.map(|_| ())
    }

    /// Has the queue written and the store closed.
    pub(crate) async fn close(&self) {
        let Some(jobs) = &self.jobs else { return };
        let (done, closed) = oneshot::channel();
        if jobs.send(Job::Close(done)).await.is_ok() {
            let _stopped = closed.await;
        }
    }
}

pub(crate) fn only_to_be_read() -> LedgerError {
    LedgerError::Unavailable("it was opened only to be read".to_owned())
}

/// The error for an answer that does not match its write.
fn mismatch(answer: &Written) -> LedgerError {
    LedgerError::Corrupt(format!("the writer answered another question: {answer:?}"))
}

struct Writer<S> {
    store: S,
    jobs: mpsc::Receiver<Job>,
}

impl<S: Store> Writer<S> {
    async fn run(mut self) {
        let mut waiting = Vec::with_capacity(GROUP);
        let mut closing = Vec::new();
        while self.gather(&mut waiting).await > 0 {
            let mut writes = Vec::with_capacity(waiting.len());
            let mut answers = Vec::with_capacity(waiting.len());
            for job in waiting.drain(..) {
                match job {
                    Job::Write(write, answer) => {
                        writes.push(write);
                        answers.push(answer);
                    }
                    Job::Close(done) => {
                        self.jobs.close();
                        closing.push(done);
                    }
                }
            }
            if writes.is_empty() {
                continue;
            }
            match self.write(&writes).await {
                Ok(outcomes) => {
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        // The requester may be gone; the write stays.
                        let _gone = answer.send(outcome);
                    }
                }
                Err(reason) => self.refuse(answers, &mut closing, &reason),
            }
        }
        self.store.close().await;
        for done in closing {
            let _gone = done.send(());
        }
    }

    /// Waits for a write, then takes all waiting ones. It lets tasks that were just answered or are about to write go
    /// first: a group costs nearly the same whatever its size.
    async fn gather(&mut self, waiting: &mut Vec<Job>) -> usize {
        let first = self.jobs.recv_many(waiting, GROUP).await;
        if first == 0 {
            return 0;
        }
        tokio::task::yield_now().await;
        while waiting.len() < GROUP {
            let Ok(job) = self.jobs.try_recv() else { break };
            waiting.push(job);
        }
        waiting.len()
    }

    /// Executes all writes in one transaction; if one makes it fail, each in its own. The error is the reason why the
    /// store is down.
    async fn write(&mut self, writes: &[Write]) -> Result<Vec<Answer>, String> {
        let all: Vec<&Write> = writes.iter().collect();
        match self.store.commit(&all).await {
            Ok(answers) => Ok(answers),
            Err(Failure::Down(reason)) => Err(reason),
            Err(Failure::Within(error)) if all.len() == 1 => Ok(vec![Err(error)]),
            Err(Failure::Within(error)) => {
                tracing::warn!(error = %error, writes = all.len(), "grouped write failed; its writes are tried one by one");
                let mut answers = Vec::with_capacity(all.len());
                for write in all {
                    match self.store.commit(&[write]).await {
                        Ok(answer) => answers.extend(answer),
                        Err(Failure::Within(error)) => answers.push(Err(error)),
                        Err(Failure::Down(reason)) => answers.push(Err(LedgerError::Unavailable(reason))),
                    }
                }
                Ok(answers)
            }
        }
    }

    /// Rejects a group and the writes that queued up behind it. Each group may need seconds to find that the store is
    /// down, and no write should wait for more than one.
    fn refuse(
        &mut self,
        answers: Vec<oneshot::Sender<Answer>>,
        closing: &mut Vec<oneshot::Sender<()>>,
        reason: &str,
    ) {
        tracing::error!(error = reason, "ledger cannot be written");
        let refusal = || Err(LedgerError::Unavailable(reason.to_owned()));
        for answer in answers {
            let _gone = answer.send(refusal());
        }
        while let Ok(job) = self.jobs.try_recv() {
            match job {
                Job::Write(_, answer) => {
                    let _gone = answer.send(refusal());
                }
                Job::Close(done) => {
                    self.jobs.close();
                    closing.push(done);
                }
            }
        }
    }
}
