//! Running a model many times, each time by another seed: what is drawn, the schedule and everything else, follows from it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::panic;
use std::rc::Rc;
use std::time::{Duration, Instant};

use reelvault::env::sim::SplitMix;
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// Schedules of a model, unless `REELVAULT_SCHEDULES` or `REELVAULT_SECONDS` says otherwise.
const SCHEDULES: u64 = 300;
/// A schedule of more steps than this goes round in circles.
const STEPS_MAX: usize = 400_000;
/// zstd and the keyring want more than the 60 KiB that a step machine has by default.
const STACK_BYTES: usize = 1 << 20;

thread_local! {
    static RUNNING: Cell<Option<(&'static str, u64)>> = const { Cell::new(None) };
    static COUNTS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts something that is told at the end: a model that never met it has shown nothing about it.
pub(crate) fn count(what: &'static str) {
    COUNTS.with_borrow_mut(|counts| *counts.entry(what).or_default() += 1);
}

/// The seed of the schedule that runs.
pub(crate) fn seed() -> u64 {
    RUNNING.get().map_or(0, |(_, seed)| seed)
}

/// How the next thread is chosen.
enum Way {
    /// Any, at each step.
    Uniform,
    /// The same again, but in one of so many steps.
    Sticky(u64),
    /// The one of highest priority; at these steps it gets the lowest (probabilistic concurrency testing, Burckhardt and
    /// others 2010).
    Priorities(Vec<u64>),
}

/// A scheduler that begins anew with each schedule, from a seed of its own.
struct Seeded {
    model: &'static str,
    next: u64,
    left: u64,
    until: Option<Instant>,
    random: SplitMix,
    way: Way,
    step: u64,
    steps: Rc<Cell<u64>>,
    priorities: HashMap<usize, i64>,
    lowest: i64,
}

impl Seeded {
    fn draw_way(&mut self) -> Way {
        match self.random.below(3) {
            0 => Way::Uniform,
            1 => Way::Sticky([3, 10, 40, 160][self.random.below(4) as usize]),
            _ => {
                let steps = [300, 1_500, 6_000][self.random.below(3) as usize];
                Way::Priorities((0..4).map(|_| self.random.below(steps)).collect())
            }
        }
    }

    fn by_priority(&mut self, tasks: &[usize], current: Option<usize>, lower: bool) -> usize {
        if let Some(current) = current.filter(|_| lower) {
            self.lowest -= 1;
            self.priorities.insert(current, self.lowest);
        }
        let mut best = (i64::MIN, 0);
        for task in tasks {
            let drawn = (self.random.draw() >> 1) as i64;
            best = best.max((*self.priorities.entry(*task).or_insert(drawn), *task));
        }
        best.1
    }
}

impl Scheduler for Seeded {
    fn new_execution(&mut self) -> Option<Schedule> {
        let over = self.until.map_or(self.left == 0, |until| Instant::now() >= until);
        if over {
            return None;
        }
        let seed = self.next;
        (self.next, self.left) = (seed + 1, self.left.saturating_sub(1));
        self.random = SplitMix::new(seed);
        self.way = self.draw_way();
        (self.step, self.lowest) = (0, 0);
        self.priorities.clear();
        RUNNING.set(Some((self.model, seed)));
        Some(Schedule::new(seed))
    }

    fn next_task(&mut self, tasks: &[&Task], now: Option<TaskId>, yields: bool) -> Option<TaskId> {
        self.step += 1;
        self.steps.set(self.steps.get() + 1);
        let step = self.step;
        let ids: Vec<usize> = tasks.iter().map(|task| usize::from(task.id())).collect();
        let now = now.map(usize::from);
        let any = ids[self.random.below(ids.len() as u64) as usize];
        let chosen = match &self.way {
            Way::Uniform => any,
            Way::Sticky(one_of) => {
                let one_of = *one_of;
                let stays = !yields && self.random.below(one_of) > 0;
                now.filter(|now| stays && ids.contains(now)).unwrap_or(any)
            }
            Way::Priorities(at) => {
                let lower = yields || at.contains(&step);
                self.by_priority(&ids, now, lower)
            }
        };
        tasks.iter().map(|task| task.id()).find(|id| usize::from(*id) == chosen)
    }

    fn next_u64(&mut self) -> u64 {
        self.random.draw()
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    config
}

/// Says, before anything else can go wrong, which schedule it was.
fn tell_failures() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Some((model, seed)) = RUNNING.take() {
                eprintln!(
                    "model {model} fails with seed {seed}; once more: \
                     tools/interleavings --model {model} --seed {seed} --schedules 1"
                );
            }
            before(info);
        }));
    });
}

fn run(scheduler: Seeded, body: impl Fn() + Send + Sync + 'static) -> u64 {
    Runner::new(scheduler, config()).run(body) as u64
}

/// Runs something once under the scheduler, apart from all schedules: what the schedules begin with.
pub(crate) fn once(body: impl Fn() + Send + Sync + 'static) {
    run(seeded("preparation", 0, 1, None), body);
    RUNNING.set(None);
}

fn seeded(model: &'static str, next: u64, left: u64, until: Option<Instant>) -> Seeded {
    Seeded {
        model,
        next,
        left,
        until,
        random: SplitMix::new(0),
        way: Way::Uniform,
        step: 0,
        steps: Rc::default(),
        priorities: HashMap::new(),
        lowest: 0,
    }
}

/// Runs a model as often as is wanted, and says what it met.
pub(crate) fn explore(model: &'static str, body: impl Fn() + Send + Sync + 'static) {
    tell_failures();
    let first = number("REELVAULT_SEED").unwrap_or(1);
    let begin = Instant::now();
    let until = number("REELVAULT_SECONDS").map(|s| begin + Duration::from_secs(s));
    let left = number("REELVAULT_SCHEDULES").unwrap_or(SCHEDULES);
    let scheduler = seeded(model, first, left, until);
    let steps = Rc::clone(&scheduler.steps);
    let schedules = run(scheduler, body);
    RUNNING.set(None);
    let met = COUNTS.take().into_iter().map(|(what, n)| format!(", {n} {what}"));
    println!(
        "model {model}: {schedules} schedules from seed {first}, {} steps each, {:.1} s{}",
        steps.get() / schedules.max(1),
        begin.elapsed().as_secs_f64(),
        met.collect::<String>()
    );
}
