//! CPU time per restore, as a ratio to a bare hyper pass-through proxy of the same build, from one
//! interleaved run: the proxy on one core, load and upstream on the other. See README.md beside this
//! file for what is measured and how to read it.
//!
//! One binary, four roles: `upstream` and `passthrough` are servers of their own process, so that
//! each one's CPU time can be read from the kernel; `load` makes the requests; without a role it
//! conducts.

mod conduct;
mod hostile;
mod load;
mod scale;
mod serve;
mod start;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let Ok(runtime) = runtime else { return std::process::ExitCode::FAILURE };
    let done = runtime.block_on(async {
        match words.as_slice() {
            ["upstream", port] => serve::upstream(port).await,
            ["passthrough", port, upstream] => serve::passthrough(port, upstream).await,
            ["load", target, connections, seconds, pause] => {
                load::run(target, connections, seconds, pause).await
            }
            ["crowd", target, seconds, kinds] => hostile::crowd(target, seconds, kinds).await,
            options => conduct::run(options).await,
        }
    });
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}
