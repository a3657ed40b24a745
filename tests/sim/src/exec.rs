//! A single-threaded executor whose every choice comes from the seed, and a clock that moves only
//! when all wait.

use contracts::Timestamp;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

pub type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Called when a job has ended.
type OnEnd = Option<Box<dyn FnOnce() + Send>>;
type Spawned = (Job, Killable, OnEnd);

/// Whether a job may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killable {
    Yes,
    No,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Running {
    job: Job,
    woken: Arc<Flag>,
    mortal: Killable,
    on_end: OnEnd,
}

/// The clock was set to another time.
#[derive(Clone, Copy, Debug)]
struct Jump {
    at: i64,
    by: i64,
}

/// What all jobs share.
pub struct Shared {
    pub rng: Mutex<SmallRng>,
    /// Time as it passes, which sleeps wait for.
    passed_ms: Mutex<i64>,
    /// What the clock was set forward or back by, and when.
    jumps: Mutex<Vec<Jump>>,
    sleepers: Mutex<Vec<(i64, Waker)>>,
    spawned: Mutex<Vec<Spawned>>,
    /// No more faults and kills: everything must end.
    pub calm: AtomicBool,
}

impl Shared {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            passed_ms: Mutex::new(1_795_000_000_000),
            jumps: Mutex::default(),
            sleepers: Mutex::default(),
            spawned: Mutex::default(),
            calm: AtomicBool::new(false),
        })
    }
    /// What the clock shows.
    pub fn now(&self) -> Timestamp {
        let ahead: i64 = self.jumps.lock().unwrap().iter().map(|jump| jump.by).sum();
        Timestamp::from_ms(self.passed() + ahead)
    }
    /// Time as it passes, whatever the clock is set to, in milliseconds.
    pub fn passed(&self) -> i64 {
        *self.passed_ms.lock().unwrap()
    }
    /// Sets the clock forward or back. Sleeps are not affected.
    pub fn jump(&self, by: i64) {
        let at = self.passed();
        self.jumps.lock().unwrap().push(Jump { at, by });
    }
    /// How often the clock was set.
    pub fn jumps(&self) -> usize {
        self.jumps.lock().unwrap().len()
    }
    /// Everything that the clock showed within the last `ms` milliseconds: the first and last
    /// reading before, between and after its jumps.
    pub fn shown(&self, ms: i64) -> Vec<i64> {
        let (passed, now) = (self.passed(), self.now().ms());
        let (mut ahead, mut readings) = (now - passed, vec![now]);
        for jump in
            self.jumps.lock().unwrap().iter().rev().take_while(|jump| jump.at >= passed - ms)
        {
            readings.push(jump.at + ahead);
            ahead -= jump.by;
            readings.push(jump.at + ahead);
        }
        readings.push(passed - ms + ahead);
        readings
    }
    /// True once in `n`, never when calm.
    pub fn one_in(&self, n: u32) -> bool {
        !self.is_calm() && self.rng.lock().unwrap().random_ratio(1, n)
    }
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }
    /// True once in `n`, calm or not: for what is decided before the storm.
    pub fn draw(&self, n: u32) -> bool {
        self.rng.lock().unwrap().random_ratio(1, n)
    }
    pub fn pick(&self, n: usize) -> usize {
        self.rng.lock().unwrap().random_range(0..n)
    }
    pub fn spawn(&self, job: Job, mortal: Killable, on_end: OnEnd) {
        self.spawned.lock().unwrap().push((job, mortal, on_end));
    }
    /// Yields to other jobs, a random number of times.
    pub async fn yield_some(&self) {
        let times = self.pick(3);
        for _ in 0..times {
            let mut polled = false;
            std::future::poll_fn(|context| {
                if std::mem::replace(&mut polled, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }
    pub async fn sleep(&self, ms: u64) {
        let until = self.passed() + ms.max(1) as i64;
        std::future::poll_fn(|context| {
            if self.passed() >= until {
                return Poll::Ready(());
            }
            self.sleepers.lock().unwrap().push((until, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    // All jobs wait: time passes until the first may continue.
    pub(crate) fn pass_time(&self) -> bool {
        let mut sleepers = self.sleepers.lock().unwrap();
        let Some(next) = sleepers.iter().map(|(until, _)| *until).min() else { return false };
        let mut passed = self.passed_ms.lock().unwrap();
        *passed = (*passed).max(next);
        let due = *passed;
        let (ready, later): (Vec<_>, Vec<_>) =
            sleepers.drain(..).partition(|(until, _)| *until <= due);
        *sleepers = later;
        drop((passed, sleepers));
        ready.into_iter().for_each(|(_, waker)| waker.wake());
        true
    }
}

/// Runs until `done` says so, or nobody can go on, or `polls_max` polls are over. Returns the
/// polls.
pub fn execute(
    shared: &Arc<Shared>,
    polls_max: usize,
    death_one_in: u32,
    mut done: impl FnMut() -> bool,
) -> usize {
    let mut jobs: Vec<Running> = Vec::new();
    for polls in 0..polls_max {
        for (job, mortal, on_end) in shared.spawned.lock().unwrap().drain(..) {
            jobs.push(Running {
                job,
                woken: Arc::new(Flag(AtomicBool::new(true))),
                mortal,
                on_end,
            });
        }
        if polls % 32 == 0 && done() {
            return polls;
        }
        let ready: Vec<usize> =
            (0..jobs.len()).filter(|index| jobs[*index].woken.0.load(Ordering::SeqCst)).collect();
        if ready.is_empty() {
            if !shared.pass_time() {
                return polls;
            }
            continue;
        }
        let index = ready[shared.pick(ready.len())];
        let job = &mut jobs[index];
        job.woken.0.store(false, Ordering::SeqCst);
        // Between any two awaits, a worker may die.
        let dies = job.mortal == Killable::Yes && shared.one_in(death_one_in);
        let ended = dies || {
            let waker = Waker::from(job.woken.clone());
            job.job.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        };
        if ended {
            let mut gone = jobs.swap_remove(index);
            if let Some(on_end) = gone.on_end.take() {
                on_end();
            }
        }
    }
    polls_max
}
