//! A writer process: started, listened to, ended.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reelvault_machine::ledger::Ledger;
use reelvault_machine::report::Line;

use super::Campaign;

/// Nothing is waited for longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A writer that runs. It is ended with this value, whatever happens.
pub(crate) struct Writer {
    child: Child,
    listener: Option<JoinHandle<Vec<String>>>,
    ledger: Arc<Mutex<Ledger>>,
}

/// How a writer is started.
#[derive(Default)]
pub(crate) struct How<'a> {
    /// Settings of its work, `name=value`.
    pub(crate) settings: Vec<String>,
    /// What strace does to its system calls; it is not traced if there is none.
    pub(crate) inject: Option<&'a str>,
}

impl How<'_> {
    pub(crate) fn with(settings: &[&str]) -> Self {
        Self { settings: settings.iter().map(|s| (*s).to_owned()).collect(), inject: None }
    }
}

impl Writer {
    pub(crate) fn start(campaign: &mut Campaign, how: &How<'_>) -> Self {
        let home = campaign.home();
        let program = env!("CARGO_BIN_EXE_machine-writer");
        let mut command = match how.inject {
            None => Command::new(program),
            Some(inject) => traced(program, inject),
        };
        // Where memory ends in the middle of a backtrace, the standard library waits for itself.
        command
            .env("RUST_BACKTRACE", "0")
            .arg(format!("dir={}", home.dir().display()))
            .arg(format!("repository={}", home.repository_dir().display()))
            .arg(format!("seed={}", campaign.random.draw()))
            .arg(format!("round={}", campaign.round))
            .arg(format!("base={}", campaign.ledger.lock().unwrap().base_ms))
            .args(&how.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let ledger = Arc::clone(&campaign.ledger);
        let listener = Some(std::thread::spawn(move || listen(out, &ledger)));
        Self { child, listener, ledger: Arc::clone(&campaign.ledger) }
    }

    /// Waits until something is so, or the writer has ended, or for so long; whether it became so.
    pub(crate) fn wait_until(&mut self, patience: Duration, so: impl Fn(&Ledger) -> bool) -> bool {
        let until = Instant::now() + patience;
        loop {
            if so(&self.ledger.lock().unwrap()) {
                return true;
            }
            if Instant::now() >= until || self.child.try_wait().unwrap().is_some() {
                return so(&self.ledger.lock().unwrap());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until so many more chunks are acknowledged than when it was called.
    pub(crate) fn wait_for_chunks(&mut self, more: u64) -> bool {
        let before = self.ledger.lock().unwrap().counts.acknowledged;
        self.wait_until(PATIENCE, |l| l.counts.acknowledged >= before + more)
    }

    /// Waits until it ends by itself, and kills it if it does not in time; how it ended.
    pub(crate) fn wait(mut self, patience: Duration) -> Ended {
        let until = Instant::now() + patience;
        while Instant::now() < until && self.child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.kill()
    }

    /// `kill -9`, and everything that it had reported.
    pub(crate) fn kill(mut self) -> Ended {
        let by_itself = self.child.try_wait().unwrap().is_some();
        let _ = self.child.kill();
        let status = self.child.wait().unwrap();
        let wrong = self.listener.take().unwrap().join().unwrap();
        assert!(wrong.is_empty(), "the writer reports: {}", wrong.join("; "));
        Ended { by_itself, status }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a writer ended.
pub(crate) struct Ended {
    /// Before it was killed by the test.
    pub(crate) by_itself: bool,
    pub(crate) status: ExitStatus,
}

impl Ended {
    /// Whether the injected signal ended it.
    pub(crate) fn was_killed_at_the_call(&self) -> bool {
        self.by_itself && self.status.signal() == Some(9)
    }

    pub(crate) fn in_order(&self) -> bool {
        self.status.success()
    }
}

/// A program under strace, which is its grandchild and not its parent: so the program itself is what is killed and waited for.
fn traced(program: &str, inject: &str) -> Command {
    let call = inject.split(':').next().unwrap();
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
    // With the filter, only that call stops; signals are not injected then (seen with 6.1).
    if !inject.contains("signal=") {
        command.arg("--seccomp-bpf");
    }
    command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={inject}")]);
    command.arg(program);
    command
}

/// Takes in a report to its end; what it tells that must not be.
fn listen(out: impl BufRead, ledger: &Mutex<Ledger>) -> Vec<String> {
    let mut wrong = Vec::new();
    for line in out.split(b'\n') {
        let line = line.map(|line| String::from_utf8_lossy(&line).into_owned());
        let noted = match &line {
            Ok(text) => match Line::parse(text) {
                Some(line) => ledger.lock().unwrap().note(line),
                None => Err(format!("no line of a report: {text}")),
            },
            Err(e) => Err(e.to_string()),
        };
        wrong.extend(noted.err());
    }
    wrong
}
