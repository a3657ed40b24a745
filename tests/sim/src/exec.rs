//! A single-threaded executor whose every choice comes from the seed, and a clock that moves only when all wait.

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

/// What happens when a job is gone.
type OnEnd = Option<Box<dyn FnOnce() + Send>>;
type Spawned = (Job, Mortal, OnEnd);

/// Who may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mortal {
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
    mortal: Mortal,
    on_end: OnEnd,
}

/// What all jobs share.
pub struct Shared {
    pub rng: Mutex<SmallRng>,
    now_ms: Mutex<i64>,
    sleepers: Mutex<Vec<(i64, Waker)>>,
    spawned: Mutex<Vec<Spawned>>,
    /// No more faults or deaths: everything must come to its end.
    pub calm: AtomicBool,
}

impl Shared {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            now_ms: Mutex::new(1_795_000_000_000),
            sleepers: Mutex::default(),
            spawned: Mutex::default(),
            calm: AtomicBool::new(false),
        })
    }
    pub fn now(&self) -> Timestamp {
        Timestamp::from_ms(*self.now_ms.lock().unwrap())
    }
    /// True once in `n`, never when calm.
    pub fn one_in(&self, n: u32) -> bool {
        !self.is_calm() && self.rng.lock().unwrap().random_ratio(1, n)
    }
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }
    pub fn pick(&self, n: usize) -> usize {
        self.rng.lock().unwrap().random_range(0..n)
    }
    pub fn spawn(&self, job: Job, mortal: Mortal, on_end: OnEnd) {
        self.spawned.lock().unwrap().push((job, mortal, on_end));
    }
    /// Lets others go first, a few times at random.
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
        let until = self.now().ms() + ms.max(1) as i64;
        std::future::poll_fn(|context| {
            if self.now().ms() >= until {
                return Poll::Ready(());
            }
            self.sleepers.lock().unwrap().push((until, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    // Everybody waits: time passes until the first of them may go on.
    fn pass_time(&self) -> bool {
        let mut sleepers = self.sleepers.lock().unwrap();
        let Some(next) = sleepers.iter().map(|(until, _)| *until).min() else { return false };
        let mut now = self.now_ms.lock().unwrap();
        *now = (*now).max(next);
        let due = *now;
        let (ready, later): (Vec<_>, Vec<_>) = sleepers.drain(..).partition(|(until, _)| *until <= due);
        *sleepers = later;
        drop((now, sleepers));
        ready.into_iter().for_each(|(_, waker)| waker.wake());
        true
    }
}

/// Runs until `done` says so, or nobody can go on, or `polls_max` polls are over. Returns the polls.
pub fn execute(shared: &Arc<Shared>, polls_max: usize, death_one_in: u32, mut done: impl FnMut() -> bool) -> usize {
    let mut jobs: Vec<Running> = Vec::new();
    for polls in 0..polls_max {
        for (job, mortal, on_end) in shared.spawned.lock().unwrap().drain(..) {
            jobs.push(Running { job, woken: Arc::new(Flag(AtomicBool::new(true))), mortal, on_end });
        }
        if polls % 32 == 0 && done() {
            return polls;
        }
        let ready: Vec<usize> = (0..jobs.len()).filter(|index| jobs[*index].woken.0.load(Ordering::SeqCst)).collect();
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
        let dies = job.mortal == Mortal::Yes && shared.one_in(death_one_in);
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
