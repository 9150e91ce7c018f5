//! A running `serve`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{LIMIT, Place, eventually};

/// A running instance; killed when dropped.
pub struct Proxy {
    child: Child,
    /// Where clients come in.
    pub address: SocketAddr,
    /// Where machines ask.
    pub telemetry: Option<SocketAddr>,
    /// From exec to the line that says ready.
    pub took: Duration,
    said: Arc<Said>,
}

/// What it has written to standard error so far.
#[derive(Default)]
struct Said {
    text: Mutex<(String, bool)>,
    more: Condvar,
}

impl Said {
    fn listen(self: &Arc<Self>, pipe: impl std::io::Read + Send + 'static) {
        let said = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let mut text = said.text.lock().unwrap();
                text.0.push_str(&String::from_utf8_lossy(&line));
                text.0.push('\n');
                said.more.notify_all();
            }
            said.text.lock().unwrap().1 = true;
            said.more.notify_all();
        });
    }

    /// Waits until the text pleases or the pipe ends.
    fn wait(&self, limit: Duration, pleases: impl Fn(&str, bool) -> bool) -> Result<String, String> {
        let deadline = Instant::now() + limit;
        let mut text = self.text.lock().unwrap();
        loop {
            if pleases(&text.0, text.1) {
                return Ok(text.0.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if text.1 || left.is_zero() {
                return Err(text.0.clone());
            }
            text = self.more.wait_timeout(text, left).unwrap().0;
        }
    }
}

impl Proxy {
    /// Starts `serve` with these arguments and waits until it is ready.
    #[track_caller]
    pub fn start(place: &Place, args: &[&str]) -> Self {
        Self::spawn(place.command(&[&["serve"], args].concat()))
    }

    /// Starts `serve` with this config; port 0 of the loopback address is added as its listener.
    #[track_caller]
    pub fn configured(place: &Place, text: &str) -> Self {
        let path = place.write("proxy-stone.toml", &format!("listen = \"127.0.0.1:0\"\n{text}"));
        Self::start(place, &["-c", path.to_str().unwrap()])
    }

    /// Starts `serve URL` on a port of the system's choice.
    #[track_caller]
    pub fn before(place: &Place, url: &str) -> Self {
        Self::start(place, &[url, "-l", "127.0.0.1:0"])
    }

    /// Starts a `serve` command and waits until it is ready.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let began = Instant::now();
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let said = Arc::new(Said::default());
        said.listen(child.stderr.take().unwrap());
        let ready = |text: &str, _| text.contains("\nready in ");
        let banner = said.wait(LIMIT, ready).unwrap_or_else(|text| {
            let _ = child.kill();
            panic!("not ready: {text}")
        });
        let took = began.elapsed();
        let url = |name: &str| {
            let line = banner.lines().find_map(|line| line.trim().strip_prefix(name))?;
            let rest = line.trim().split_once("://")?.1;
            rest.split('/').next()?.parse().ok()
        };
        let address = url("listening").unwrap_or_else(|| panic!("no listener: {banner}"));
        Self { child, address, telemetry: url("telemetry"), took, said }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said so far.
    pub fn said(&self) -> String {
        self.said.text.lock().unwrap().0.clone()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub fn says(&self, wanted: &str) -> String {
        match self.said.wait(LIMIT, |text, _| text.contains(wanted)) {
            Ok(text) => text,
            Err(text) => panic!("it did not say {wanted:?}: {text}"),
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it as `kill -9` does; gone when this returns.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; the exit code.
    #[track_caller]
    pub fn ended(&mut self) -> i32 {
        // Its end closes the pipe.
        if let Err(text) = self.said.wait(LIMIT, |_, ended| ended) {
            let ended = self.said.text.lock().unwrap().1;
            assert!(ended, "it does not end: {text}");
        }
        code(self.child.wait().unwrap())
    }

    /// Waits for the end of this very process, whoever else has its standard error; the exit code.
    #[track_caller]
    pub fn exited(&mut self) -> i32 {
        code(eventually("it has ended", || self.child.try_wait().unwrap()))
    }

    /// Asks it to stop and waits for its end.
    #[track_caller]
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let code = self.ended();
        let said = self.said();
        assert_eq!(code, 0, "{said}");
        said
    }

    /// `status -o json`, which succeeds where the instance is ready.
    #[track_caller]
    pub fn status(&self, place: &Place) -> Value {
        let output = place.run(&["status", "-o", "json"]);
        let document: Value =
            serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        let status = document["items"][0].clone();
        assert_eq!(output.code, i32::from(status["ready"] != true), "{output:?}");
        status
    }

    /// Waits until the store has come to this state.
    #[track_caller]
    pub fn store_is(&self, place: &Place, begins: &str) -> Value {
        eventually(&format!("the store is {begins}"), || {
            let status = self.status(place);
            let state = status["store"]["state"].as_str().unwrap_or_default().to_owned();
            let rest = state.strip_prefix(begins);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([',', ':'])).then_some(status)
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- process {} said:\n{}---", self.child.id(), self.said());
        }
    }
}

/// The exit code; 128 and the signal where one ended it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
