//! nginx, and wrk: a load that both it and the service are given.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::service::Service;
use crate::{BenchError, Place, Result};

pub(super) const CONNECTIONS: u32 = 64;
const THREADS: u32 = 2;
const SECONDS: u32 = 5;
/// nginx is up within this time, or not at all.
const START_TIME_MAX: Duration = Duration::from_secs(10);

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> BenchError {
    let path = path.to_owned();
    move |e| BenchError::Io(path, e)
}

/// Writes a file and the folders above it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io(folder))?;
    }
    std::fs::write(path, bytes).map_err(io(path))
}

/// Takes the files of a folder out of the page cache.
pub(super) fn out_of_the_cache(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        if path.is_dir() {
            out_of_the_cache(&path)?;
            continue;
        }
        let file = std::fs::File::open(&path).map_err(io(&path))?;
        file.sync_all().map_err(io(&path))?;
        let advice = rustix::fs::Advice::DontNeed;
        rustix::fs::fadvise(&file, 0, None, advice).map_err(|e| BenchError::Io(path, e.into()))?;
    }
    Ok(())
}

/// Whether a program can be started.
fn is_there(name: &str) -> bool {
    let mut command = Command::new(name);
    command.arg("-v").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// nginx over the files of a folder, with the service's certificate.
pub(super) struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    /// `None` where it is not installed.
    pub(super) fn start(place: &Place, service: &Service, files: &Path) -> Result<Option<Self>> {
        if !is_there("nginx") {
            return Ok(None);
        }
        let folder = place.0.join("nginx");
        let port = free_port()?;
        let config = format!(
            "daemon off; worker_processes auto; pid {0}/pid; error_log {0}/error.log;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; default_type application/x-ndjson; keepalive_requests 100000000;
               client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;
               uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;
               server {{
                 listen 127.0.0.1:{port} ssl; root {1}; add_header Content-Encoding zstd;
                 ssl_protocols TLSv1.3; ssl_certificate {2}/certificate.pem;
                 ssl_certificate_key {2}/key.pem;
               }}
             }}",
            folder.display(),
            files.display(),
            service.folder().display(),
        );
        let path = folder.join("nginx.conf");
        write(&path, config.as_bytes())?;
        let mut command = Command::new("nginx");
        command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(io(&path))?;
        let nginx = Self { child, port };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > START_TIME_MAX {
                return Err(BenchError::Child("nginx"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(nginx))
    }

    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only if it is asked to end.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    let at = Path::new("a port of this machine");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io(at))?;
    Ok(listener.local_addr().map_err(io(at))?.port())
}

/// What a run showed.
#[derive(Deserialize)]
pub(super) struct Ran {
    pub(super) requests_per_second: f64,
    pub(super) bytes_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Answers that were refusals, and connections that broke.
    errors: u64,
}

/// A load of wrk: the same requests in the same order for whoever is asked.
pub(super) struct Load {
    script: PathBuf,
}

impl Load {
    /// `None` where wrk is not installed.
    pub(super) fn new(place: &Place, paths: &[String], cookie: &str) -> Result<Option<Self>> {
        if !is_there("wrk") {
            return Ok(None);
        }
        let mut script = String::from("local paths = {\n");
        for path in paths {
            let _ = writeln!(script, "  \"{path}\",");
        }
        let _ = write!(
            script,
            r#"}}
local headers = {{ ["cookie"] = "{cookie}", ["accept-encoding"] = "zstd" }}
local at = 0
request = function()
  at = at % #paths + 1
  return wrk.format("GET", paths[at], headers)
end
done = function(summary, latency)
  local e, s = summary.errors, summary.duration / 1e6
  io.write(string.format(
    '{{"requests_per_second":%f,"bytes_per_second":%f,"p50_ms":%f,"p99_ms":%f,"errors":%d}}\n',
    summary.requests / s, summary.bytes / s, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
"#
        );
        let path = place.0.join("load.lua");
        write(&path, script.as_bytes())?;
        Ok(Some(Self { script: path }))
    }

    pub(super) fn run(&self, url: &str) -> Result<Ran> {
        let mut wrk = Command::new("wrk");
        wrk.arg(format!("-t{THREADS}")).arg(format!("-c{CONNECTIONS}"));
        wrk.arg(format!("-d{SECONDS}s")).arg("-s").arg(&self.script).arg(url);
        let output = wrk.stdin(Stdio::null()).output().map_err(io(Path::new("wrk")))?;
        let told = String::from_utf8_lossy(&output.stdout);
        let line = told.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        let ran: Ran = serde_json::from_str(line).map_err(|_| BenchError::Child("wrk"))?;
        // A refusal is a cheap answer, and no replay.
        if ran.errors > 0 { Err(BenchError::Child("wrk: not all was answered")) } else { Ok(ran) }
    }
}
