//! The command: what is run, by how many processes, and what is told of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use reelvault::ledger;

use crate::broken::{Broken, Outcome};
use crate::campaign::{ALL, Campaign};
use crate::counts::Counts;

/// Crashes, faults and rot at every place, on a simulated machine, counted.
///
/// Each campaign is a list of cases. A case follows from the seed and its own number, so that one that fails is run again by
/// `torture run CAMPAIGN --seed S --case N`.
#[derive(Parser)]
#[command(name = "torture", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Tell what campaigns there are.
    List,
    /// Run campaigns: all of them, in their short form, if nothing else is said.
    Run(Run),
    /// Plant bugs one after the other, and see whether the campaigns find them. Needs a build with the feature `planted-bugs`.
    Fish {
        /// Bugs by name; all if none is named.
        bugs: Vec<String>,
        /// Within so many seconds each must be found.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = jobs())]
        jobs: u64,
    },
    #[command(hide = true)]
    Worker(Worker),
}

#[derive(Args)]
struct Run {
    /// Campaigns by name; all if none is named.
    campaigns: Vec<String>,
    /// What chance follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processes at work.
    #[arg(long, default_value_t = jobs())]
    jobs: u64,
    /// So long for each campaign, seed after seed, in place of the short form.
    #[arg(long)]
    seconds: Option<u64>,
    /// So many cases of each, in place of the short form.
    #[arg(long)]
    cases: Option<u64>,
    /// This case alone.
    #[arg(long)]
    case: Option<u64>,
    #[arg(long, hide = true)]
    bug: Option<String>,
}

#[derive(Args)]
struct Worker {
    campaign: String,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    from: u64,
    #[arg(long)]
    step: u64,
    #[arg(long)]
    cases: u64,
    #[arg(long)]
    seconds: Option<u64>,
    #[arg(long)]
    bug: Option<String>,
}

/// The ledger of a seed holds 16 bytes a seal; after so many cases the next seed begins with an empty one.
const CASES_OF_A_SEED: u64 = 5_000;

fn jobs() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

pub(crate) fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Action::List => {
            for campaign in &ALL {
                println!("{:<11} {}", campaign.name, campaign.about);
            }
            Ok(true)
        }
        Action::Run(run) => run_all(&run),
        Action::Fish { bugs, seconds, seed, jobs } => fish(&bugs, seconds, seed, jobs),
        Action::Worker(worker) => Ok(work(&worker)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("torture: {e}");
            ExitCode::from(2)
        }
    }
}

fn campaign(name: &str) -> Result<&'static Campaign, String> {
    let known = || ALL.map(|campaign| campaign.name).join(", ");
    let found = ALL.iter().find(|campaign| campaign.name == name);
    found.ok_or_else(|| format!("there is no campaign {name}; there are {}", known()))
}

/// Whether all promises were kept.
fn run_all(run: &Run) -> Result<bool, String> {
    let mut campaigns = Vec::new();
    for name in &run.campaigns {
        campaigns.push(campaign(name)?);
    }
    if campaigns.is_empty() {
        campaigns.extend(&ALL);
    }
    let mut good = true;
    for campaign in campaigns {
        good &= run_one(campaign, run)?.is_good();
    }
    Ok(good)
}

/// A promise that was broken, and in which case.
struct Found {
    seed: u64,
    case: u64,
    what: String,
}

/// What came of a campaign.
struct Came {
    counts: Counts,
    broken: Vec<Found>,
    lacks: Vec<String>,
    took: Duration,
}

impl Came {
    fn is_good(&self) -> bool {
        self.broken.is_empty() && self.lacks.is_empty()
    }
}

fn run_one(campaign: &Campaign, run: &Run) -> Result<Came, String> {
    let came = carry_out(campaign, run)?;
    let Came { counts, broken, lacks, took } = &came;
    println!(
        "{}: {counts}, {} broken promises; seed {}, {:.0} s",
        campaign.name,
        broken.len(),
        run.seed,
        took.as_secs_f64()
    );
    for Found { seed, case, what } in broken {
        println!("  case {case}: {what}");
        println!("  again: torture run {} --seed {seed} --case {case}", campaign.name);
    }
    for lack in lacks {
        println!("  too few: {lack}");
    }
    Ok(came)
}

/// Runs the cases in several processes: what one of them does to the process, a panic or a leak, stays there.
fn carry_out(campaign: &Campaign, run: &Run) -> Result<Came, String> {
    let begun = Instant::now();
    let is_short = run.seconds.is_none() && run.cases.is_none() && run.case.is_none();
    let jobs = if run.case.is_some() { 1 } else { run.jobs.max(1) };
    let cases = match (run.case, run.seconds) {
        (Some(case), _) => case + 1,
        (None, Some(_)) => u64::MAX,
        (None, None) => run.cases.unwrap_or(campaign.short),
    };
    let mut workers = Vec::new();
    for job in 0..jobs {
        workers.push(spawn(campaign, run, job, jobs, cases)?);
    }
    let (counts, broken) = gather(workers, run.bug.is_some())?;
    let mut lacks = Vec::new();
    for (name, least) in campaign.at_least.iter().filter(|_| is_short && broken.is_empty()) {
        if counts.get(name) < *least {
            lacks.push(format!("{} {name}, at least {least} are wanted", counts.get(name)));
        }
    }
    Ok(Came { counts, broken, lacks, took: begun.elapsed() })
}

fn spawn(campaign: &Campaign, run: &Run, job: u64, jobs: u64, cases: u64) -> Result<Child, String> {
    let failed = |e: std::io::Error| format!("cannot start a process: {e}");
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    let from = run.case.unwrap_or(job);
    command.args(["worker", campaign.name]);
    command.args(["--seed", &run.seed.to_string(), "--from", &from.to_string()]);
    command.args(["--step", &jobs.to_string(), "--cases", &cases.to_string()]);
    if let Some(seconds) = run.seconds {
        command.args(["--seconds", &seconds.to_string()]);
    }
    if let Some(bug) = &run.bug {
        command.args(["--bug", bug]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)
}

/// What the processes tell. If one is enough that finds something, the others are ended then.
fn gather(mut workers: Vec<Child>, one_is_enough: bool) -> Result<(Counts, Vec<Found>), String> {
    let (tell, told) = std::sync::mpsc::channel();
    let mut readers = Vec::new();
    for worker in &mut workers {
        let (Some(out), tell) = (worker.stdout.take(), tell.clone()) else { continue };
        readers.push(std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.for_each(|line| drop(tell.send(line)));
        }));
    }
    drop(tell);
    let (mut counts, mut broken, mut ended) = (Counts::default(), Vec::new(), 0);
    for line in told {
        match line.split_once(' ') {
            Some(("counts", rest)) => {
                counts.merge(&Counts::parse(rest));
                ended += 1;
            }
            Some(("broken", rest)) => {
                let mut parts = rest.splitn(3, ' ');
                let mut number = || parts.next().and_then(|n| n.parse().ok()).unwrap_or(0);
                let (seed, case) = (number(), number());
                let what = parts.next().unwrap_or_default().to_owned();
                broken.push(Found { seed, case, what });
                if one_is_enough {
                    workers.iter_mut().for_each(|worker| drop(worker.kill()));
                }
            }
            _ => println!("{line}"),
        }
    }
    let all = workers.len();
    for worker in &mut workers {
        worker.wait().map_err(|e| format!("waiting for a process: {e}"))?;
    }
    let were_ended = one_is_enough && !broken.is_empty();
    if ended < all && !were_ended {
        return Err("a process ended before its work".to_owned());
    }
    Ok((counts, broken))
}

/// Runs every `step`-th case, from `from` on; whether all promises were kept.
fn work(worker: &Worker) -> bool {
    // What panics is told as a promise broken, with its words.
    std::panic::set_hook(Box::new(|_| {}));
    let mut counts = Counts::default();
    let mut seed = worker.seed;
    let done = loop {
        match work_on_seed(worker, seed, &mut counts) {
            Ok(true) => seed += 1,
            Ok(false) => break true,
            Err((case, broken)) => {
                println!("broken {seed} {case} {}", broken.to_string().replace('\n', " "));
                break false;
            }
        }
    };
    println!("counts {counts}");
    done
}

/// Whether there is time left for another seed.
fn work_on_seed(worker: &Worker, seed: u64, counts: &mut Counts) -> Result<bool, (u64, Broken)> {
    // Time is looked at between cases alone: what a case does never depends on it.
    let begun = begun();
    let campaign = campaign(&worker.campaign).map_err(|e| (0, Broken::new(e)))?;
    if let Some(bug) = &worker.bug {
        crate::fish::plant(bug).map_err(|e| (0, Broken::new(e)))?;
    }
    ledger::begin();
    let mut cases = (campaign.begin)(seed).map_err(|broken| (0, broken))?;
    let mut end = cases.number().unwrap_or(u64::MAX).min(worker.cases);
    if worker.seconds.is_some() {
        end = end.min(CASES_OF_A_SEED);
    }
    let mut case = worker.from;
    let mut all = true;
    while case < end {
        if worker.seconds.is_some_and(|seconds| begun.elapsed().as_secs() >= seconds) {
            all = false;
            break;
        }
        let ran = cases.run(case, counts).and_then(|()| no_nonce_twice());
        ran.map_err(|broken| (case, broken.during(cases.tell(case))))?;
        counts.one("cases");
        case += worker.step;
    }
    counts.add("seals", ledger::look().pairs);
    Ok(all && worker.seconds.is_some())
}

/// When this process began.
fn begun() -> Instant {
    use std::sync::OnceLock;
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    *BEGUN.get_or_init(Instant::now)
}

fn no_nonce_twice() -> Outcome {
    match ledger::look().repeated {
        0 => Ok(()),
        n => Err(Broken::new(format!("{n} seals under a key and nonce that were used before"))),
    }
}

fn fish(bugs: &[String], seconds: u64, seed: u64, jobs: u64) -> Result<bool, String> {
    let wanted = crate::fish::choose(bugs)?;
    let mut escaped = 0;
    for (bug, name) in &wanted {
        let run = Run {
            campaigns: Vec::new(),
            seed,
            jobs,
            seconds: Some(seconds),
            cases: None,
            case: None,
            bug: Some((*bug).to_owned()),
        };
        let came = carry_out(campaign(name)?, &run)?;
        match came.broken.first() {
            Some(Found { case, what, .. }) => {
                let what: String = what.rsplit(": ").take(2).collect::<Vec<_>>().join(": ");
                println!(
                    "{bug}: found by {name} in {:.0} s, case {case}: {what}",
                    came.took.as_secs_f64()
                );
            }
            None => {
                escaped += 1;
                println!("{bug}: NOT found by {name} in {seconds} s");
            }
        }
    }
    println!("{} planted bugs, {} found", wanted.len(), wanted.len() - escaped);
    Ok(escaped == 0)
}
