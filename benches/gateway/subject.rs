//! What is measured: a process tree behind an address.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks a second of utime and stime (`getconf CLK_TCK`; 100 on every Linux).
const TICKS: f64 = 100.0;
const START_MAX: Duration = Duration::from_secs(20);

/// A measured thing. Its processes end with it.
pub struct Subject {
    pub name: &'static str,
    pub addr: SocketAddr,
    process: Option<Child>,
    _folder: Option<tempfile::TempDir>,
}

impl Subject {
    pub fn direct(addr: SocketAddr) -> Self {
        Self { name: "direct", addr, process: None, _folder: None }
    }

    /// `None` where nginx is not installed.
    pub fn nginx(upstream: SocketAddr) -> Option<Self> {
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists())?;
        let (folder, addr) = (tempfile::tempdir().expect("a folder"), free());
        let at = folder.path().display();
        let conf = format!(
            "worker_processes 1;\ndaemon off;\npid {at}/nginx.pid;\nerror_log {at}/error.log warn;\n\
             events {{ worker_connections 8192; }}\n\
             http {{\n  access_log {at}/access.log;\n  client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  \
             fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  \
             upstream up {{ server {upstream}; keepalive 1024; keepalive_requests 100000000; }}\n  \
             server {{\n    listen {addr};\n    keepalive_requests 100000000;\n    location / {{\n      \
             proxy_pass http://up;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
             proxy_buffering off;\n    }}\n  }}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, conf).expect("writes");
        let mut command = wide(program);
        command.arg("-c").arg(&file).arg("-e").arg(folder.path().join("error.log"));
        Some(Self::spawn("nginx", addr, command, folder))
    }

    /// A build of the program, with one worker thread and records, lines and
    /// metrics on.
    pub fn tautline(name: &'static str, program: &str, upstream: SocketAddr) -> Self {
        let (folder, addr, admin) = (tempfile::tempdir().expect("a folder"), free(), free());
        let models = ["1k", "4k", "assembled", "paced", "unpaced", "idle"];
        let mut conf = format!(
            "state_dir = \"{}\"\n[gateway]\nlisten = \"{addr}\"\nworker_threads = 1\n[admin]\nlisten = \"{admin}\"\n\
             [log]\nformat = \"json\"\nfilter = \"info\"\nexchanges = \"json\"\n\
             [providers.up]\ndialect = \"openai\"\nbase_url = \"http://{upstream}/v1\"\napi_key = \"exec:echo none\"\n",
            folder.path().join("state").display()
        );
        for model in models {
            let streaming = if model == "assembled" { "auto" } else { "off" };
            conf += &format!(
                "[targets.t{model}]\nprovider = \"up\"\nmodel = \"bench-{model}\"\nupstream_streaming = \"{streaming}\"\n\
                 [routes.bench-{model}]\ntargets = [\"t{model}\"]\n"
            );
        }
        let file = folder.path().join("tautline.toml");
        std::fs::write(&file, conf).expect("writes");
        let mut command = wide(program);
        command.arg("up").arg("--config").arg(&file);
        Self::spawn(name, addr, command, folder)
    }

    fn spawn(name: &'static str, addr: SocketAddr, mut command: Command, folder: tempfile::TempDir) -> Self {
        let log = |what: &str| File::create(folder.path().join(what)).expect("creates");
        command.stdin(Stdio::null()).stdout(log("stdout")).stderr(log("stderr"));
        let mut process = command.spawn().expect("starts");
        let until = Instant::now() + START_MAX;
        while TcpStream::connect(addr).is_err() {
            let over = process.try_wait().expect("a child").is_some() || Instant::now() > until;
            let said = || std::fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
            assert!(!over, "{name} does not listen: {}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { name, addr, process: Some(process), _folder: Some(folder) }
    }

    /// Seconds of CPU that its process tree used so far.
    pub fn cpu(&self) -> f64 {
        self.tree().iter().filter_map(|pid| stat(*pid)).map(|stat| stat.1 as f64 / TICKS).sum()
    }

    /// KiB of memory, shared pages in proportion.
    pub fn pss(&self) -> u64 {
        let rollup = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
        let pss = |text: String| {
            text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        };
        self.tree().iter().filter_map(rollup).filter_map(pss).sum::<u64>()
    }

    fn tree(&self) -> Vec<u32> {
        let Some(process) = &self.process else { return Vec::new() };
        let mut tree = vec![process.id()];
        let all: Vec<(u32, u32)> = std::fs::read_dir("/proc")
            .expect("Linux")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, stat(pid)?.0)))
            .collect();
        let mut place = 0;
        while place < tree.len() {
            let one = tree[place];
            tree.extend(all.iter().filter(|(_, parent)| *parent == one).map(|(pid, _)| *pid));
            place += 1;
        }
        tree
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // The master of nginx may not be killed before its worker.
        for pid in self.tree().into_iter().rev() {
            let _ = Command::new("kill").arg("-TERM").arg(pid.to_string()).status();
        }
        if let Some(process) = &mut self.process {
            let until = Instant::now() + Duration::from_secs(3);
            while process.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A program with as many descriptors as the system lets it have.
pub fn wide(program: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -Sn \"$(ulimit -Hn)\"; exec \"$@\"", "sh", program]);
    command
}

/// Parent and CPU ticks of a process.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = text[text.rfind(')')? + 2..].split(' ').collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?))
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
