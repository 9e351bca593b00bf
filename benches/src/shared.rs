//! Hits whose value is on a server, beside the least that they could cost, and what keeps them off the server.

use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use cached_runtime::{Backend, BackendState, backends, cached};
use cached_tests_servers::Server;
use tokio::runtime::{Builder, Runtime};

use crate::measure::{Case, Contender, Effort, Measured, measure};
use crate::random::Random;
use crate::report::{Row, Unit};
use crate::round_trip::RoundTrips;
use crate::{pinning, processes};

/// What must be installed.
pub(crate) const SERVERS: &[&str] = &["memcached", "redis-server"];

pub(crate) fn about(quick: bool) -> String {
    let place = if processes::missing(&[pinning::PROGRAM]).is_empty() {
        "servers and callers on one CPU".to_owned()
    } else {
        format!("NOT kept on one CPU, as there is no `{}`, so that they say little", pinning::PROGRAM)
    };
    format!(
        "µs per hit on a server of this machine, {KEYS} values of {SIZE} bytes, median of {} rounds, {place}; \
         raw: a blocking round trip for the same bytes; in_process: the same function without a backend",
        Effort::new(quick).rounds
    )
}

/// Fails if a call was not a hit.
pub(crate) fn run(quick: bool) -> io::Result<Vec<Row>> {
    // The functions learn from the environment where the servers are, which only another process can be given.
    match Addresses::of_this_process() {
        Some(addresses) => measured(&addresses, Effort::new(quick)),
        None => with_servers(quick),
    }
}

const KEYS: usize = 1000;
const SIZE: usize = 100;

const MEMCACHED_URL: &str = "COMPARE_MEMCACHED";
const REDIS_URL: &str = "COMPARE_REDIS";

fn with_servers(quick: bool) -> io::Result<Vec<Row>> {
    if let Err(reason) = pinning::stay_on_one_cpu() {
        eprintln!("compare: shared is not kept on one CPU, so its figures say little: {reason}");
    }
    let (memcached, redis) = (Server::memcached(&[]), Server::redis(&[]));
    let url = |scheme: &str, server: &Server| {
        // No call is to become a miss because the machine is busy.
        format!("{scheme}://{}?timeout=10s", server.address())
    };
    let variables = [
        (MEMCACHED_URL, url("memcached", &memcached)),
        (REDIS_URL, url("redis", &redis)),
        ("CACHED_REDIS_CONNECTION_STRING", format!("redis://{}", redis.address())),
    ];
    processes::rows_of("shared", quick, &variables)
}

/// Where the servers are.
struct Addresses {
    memcached: SocketAddr,
    redis: SocketAddr,
}

impl Addresses {
    fn of_this_process() -> Option<Self> {
        let address = |variable| address(&std::env::var(variable).ok()?);
        Some(Self { memcached: address(MEMCACHED_URL)?, redis: address(REDIS_URL)? })
    }
}

/// What a URL has between its scheme and its parameters.
fn address(url: &str) -> Option<SocketAddr> {
    url.split_once("://")?.1.split('?').next()?.parse().ok()
}

/// How often a body has run, whoever called it.
static COMPUTED: AtomicU64 = AtomicU64::new(0);

fn text(number: u64) -> String {
    COMPUTED.fetch_add(1, Relaxed);
    format!("{number:0SIZE$}")
}

static MEMCACHED: Backend = Backend::env(MEMCACHED_URL, "null://");
static REDIS: Backend = Backend::env(REDIS_URL, "null://");

#[cached(timeout = 3600, backend = MEMCACHED, name = "memcached_sync")]
fn memcached_sync(number: u64) -> String {
    text(number)
}

#[cached(timeout = 3600, backend = MEMCACHED, name = "memcached_async")]
async fn memcached_async(number: u64) -> String {
    text(number)
}

// A `Result`, as the peer must have one.
#[cached(timeout = 3600, backend = REDIS, name = "redis_sync")]
fn redis_sync(number: u64) -> Result<String, String> {
    Ok(text(number))
}

#[cached(timeout = 3600, backend = REDIS, name = "redis_async")]
async fn redis_async(number: u64) -> Result<String, String> {
    Ok(text(number))
}

#[expect(
    clippy::unnecessary_wraps,
    clippy::unused_async,
    reason = "the attribute wants a `Result`, the bench a task"
)]
mod peer {
    use super::text;

    #[cached::macros::concurrent_cached(
        redis = true,
        ttl_secs = 3600,
        map_error = r#"|error| error.to_string()"#
    )]
    pub(super) fn redis_sync(number: u64) -> Result<String, String> {
        Ok(text(number))
    }

    #[cached::macros::concurrent_cached(
        redis = true,
        ttl_secs = 3600,
        map_error = r#"|error| error.to_string()"#
    )]
    pub(super) async fn redis_async(number: u64) -> Result<String, String> {
        Ok(text(number))
    }
}

#[cached(timeout = 3600, backend = MEMCACHED, local_timeout = 3600)]
fn local(number: u64) -> u64 {
    COMPUTED.fetch_add(1, Relaxed);
    number
}

/// Nobody listens there.
static GONE: Backend = Backend::url("memcached://127.0.0.1:1");

#[cached(timeout = 3600, backend = GONE)]
fn gone_sync(number: u64) -> u64 {
    number
}

#[cached(timeout = 3600, backend = GONE)]
async fn gone_async(number: u64) -> u64 {
    number
}

#[cached(timeout = 3600)]
fn in_process(number: u64) -> u64 {
    COMPUTED.fetch_add(1, Relaxed);
    number
}

fn measured(addresses: &Addresses, effort: Effort) -> io::Result<Vec<Row>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (hits, others) = (hits(&runtime), others(&runtime));
    // They ask for what those have stored.
    let (memcached, redis) = (addresses.memcached, addresses.redis);
    let raw = [
        RoundTrips::memcached(memcached, "memcached_sync")?,
        RoundTrips::memcached(memcached, "memcached_async")?,
        RoundTrips::redis(redis, "redis_sync")?,
        RoundTrips::redis(redis, "redis_async")?,
    ];
    if let Some(stored) = raw.iter().map(RoundTrips::len).find(|len| *len != KEYS) {
        return Err(io::Error::other(format!("{stored} of {KEYS} values were stored")));
    }
    let hits = hits.into_iter().zip(&raw).map(|(mut case, raw)| {
        case.contenders.push(Contender::of_keys("raw", KEYS, |key| raw.ask(key)));
        case
    });
    let cases: Vec<_> = hits.chain(others).collect();

    let computed = COMPUTED.load(Relaxed);
    let measured = measure(&cases, effort);
    raw.iter().try_for_each(RoundTrips::check)?;
    let misses = COMPUTED.load(Relaxed) - computed;
    if misses > 0 {
        return Err(io::Error::other(format!("{misses} calls were misses; the times are not those of hits")));
    }
    let measured: Vec<_> = measured.into_iter().chain(measured_without_server(&runtime, effort)?).collect();
    Ok(rows(&measured))
}

/// What calls cost whose backend is not asked, as it has failed: all but nothing of it is the body.
fn measured_without_server(runtime: &Runtime, effort: Effort) -> io::Result<Vec<Measured>> {
    let name = GONE.to_string();
    let cases = [
        case("breaker open, sync", vec![blocking("ours", gone_sync)]),
        case("breaker open, async", vec![awaited("ours", runtime, gone_async)]),
    ];
    let measured = measure(&cases, effort);
    // One call in a while tries it, and finds nobody.
    let gone = backends().into_iter().find(|backend| backend.name == name);
    let is_open = |state| state != BackendState::Closed;
    if gone.is_some_and(|gone| is_open(gone.state) && gone.operations < gone.skipped / 100) {
        return Ok(measured);
    }
    Err(io::Error::other("the backend without a server was asked all the same"))
}

const MEMCACHED_ASYNC: &str = "memcached hit, async";
const REDIS_ASYNC: &str = "Redis hit, async";
const MEMCACHED_AT_ONCE: &str = "memcached hit, 64 async at once";
const REDIS_AT_ONCE: &str = "Redis hit, 64 async at once";
const LOCAL: &str = "hit in the local tier";

/// Those beside which a round trip is measured.
fn hits(runtime: &Runtime) -> [Case<'_>; 4] {
    [
        case("memcached hit, sync", vec![blocking("ours", memcached_sync)]),
        case(MEMCACHED_ASYNC, vec![awaited("ours", runtime, memcached_async)]),
        case(
            "Redis hit, sync",
            vec![blocking("ours", redis_sync), blocking("concurrent_cached", peer::redis_sync)],
        ),
        case(
            REDIS_ASYNC,
            vec![
                awaited("ours", runtime, redis_async),
                awaited("concurrent_cached", runtime, peer::redis_async),
            ],
        ),
    ]
}

fn others(runtime: &Runtime) -> [Case<'_>; 3] {
    [
        case(MEMCACHED_AT_ONCE, vec![at_once("ours", runtime, memcached_async)]),
        case(
            REDIS_AT_ONCE,
            vec![
                at_once("ours", runtime, redis_async),
                at_once("concurrent_cached", runtime, peer::redis_async),
            ],
        ),
        case(LOCAL, vec![blocking("ours", local), blocking("in_process", in_process)]),
    ]
}

fn case<'a>(name: &'static str, contenders: Vec<Contender<'a>>) -> Case<'a> {
    Case { name, threads: &[1], contenders }
}

fn blocking<'a, V>(name: &'static str, call: impl Fn(u64) -> V + Sync + 'a) -> Contender<'a> {
    Contender::of_keys(name, KEYS, move |key| call(key as u64))
}

/// One call after another, in one task, after one call with each key.
fn awaited<'a, F: Future>(
    name: &'static str,
    runtime: &'a Runtime,
    call: impl Fn(u64) -> F + Sync + 'a,
) -> Contender<'a> {
    (0..KEYS as u64).for_each(|key| drop(runtime.block_on(call(key))));
    Contender::new(name, move |thread, operations| {
        runtime.block_on(async {
            let mut random = Random::new(thread);
            for _ in 0..operations {
                black_box(call(black_box(random.below(KEYS) as u64)).await);
            }
        });
    })
}

const AT_ONCE: u32 = 64;

/// So many calls of different keys at a time, each in a task of its own. Their number is rounded up.
fn at_once<'a, F>(
    name: &'static str,
    runtime: &'a Runtime,
    call: impl Fn(u64) -> F + Sync + 'a,
) -> Contender<'a>
where
    F: Future<Output: Send> + Send + 'static,
{
    Contender::new(name, move |thread, operations| {
        runtime.block_on(async {
            let mut random = Random::new(thread);
            for _ in 0..operations.div_ceil(AT_ONCE) {
                let first = random.below(KEYS - AT_ONCE as usize) as u64;
                let calls = (first..first + u64::from(AT_ONCE)).map(|key| tokio::spawn(call(black_box(key))));
                for call in calls.collect::<Vec<_>>() {
                    // It does not panic, and nobody aborts it.
                    drop(black_box(call.await));
                }
            }
        });
    })
}

/// Times in microseconds, but for those of this process; then throughputs.
fn rows(measured: &[Measured]) -> Vec<Row> {
    let times = measured.iter().filter(|case| case.name != LOCAL).map(|case| {
        let times = case.times.iter().map(|(name, time)| (*name, time / 1e3));
        Row::new(case.name, Unit::MICROSECONDS, times)
    });
    let local = measured.iter().filter(|case| case.name == LOCAL);
    let local = local.map(|case| Row::new(case.name, Unit::NANOSECONDS, case.times.iter().copied()));
    let find = |name| measured.iter().find(move |case| case.name == name);
    let pairs = [
        ("memcached, 64 async at once over one by one", MEMCACHED_ASYNC, MEMCACHED_AT_ONCE),
        ("Redis, 64 async at once over one by one", REDIS_ASYNC, REDIS_AT_ONCE),
    ];
    let throughputs = pairs.into_iter().filter_map(|(name, one, at_once)| {
        let (one, at_once) = (find(one)?, find(at_once)?);
        let ratio = |(name, at_once): &(&'static str, f64)| {
            let (_, one) = one.times.iter().find(|(it, _)| it == name)?;
            Some((*name, one / at_once))
        };
        Some(Row::new(name, Unit::TIMES_THE_THROUGHPUT, at_once.times.iter().filter_map(ratio)))
    });
    times.chain(local).chain(throughputs).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn addresses_are_those_of_urls() {
        let expected = Some(SocketAddr::from(([127, 0, 0, 1], 11_211)));
        assert_eq!(address("memcached://127.0.0.1:11211?timeout=10s"), expected);
        assert_eq!(address("127.0.0.1:11211"), None);
        assert_eq!(address("redis://"), None);
    }

    #[test]
    fn throughputs_are_ratios_of_the_same_contender() {
        let measured = |name, times: &[_]| Measured { name, threads: 1, times: times.to_vec() };
        let rows = rows(&[
            measured(REDIS_ASYNC, &[("ours", 20_000.0), ("concurrent_cached", 40_000.0), ("raw", 1.0)]),
            measured(REDIS_AT_ONCE, &[("ours", 2000.0), ("concurrent_cached", 5000.0)]),
            measured(LOCAL, &[("ours", 16.0)]),
        ]);
        let expected = [
            Row::new(
                REDIS_ASYNC,
                Unit::MICROSECONDS,
                [("ours", 20.0), ("concurrent_cached", 40.0), ("raw", 0.001)],
            ),
            Row::new(REDIS_AT_ONCE, Unit::MICROSECONDS, [("ours", 2.0), ("concurrent_cached", 5.0)]),
            Row::new(LOCAL, Unit::NANOSECONDS, [("ours", 16.0)]),
            Row::new(
                "Redis, 64 async at once over one by one",
                Unit::TIMES_THE_THROUGHPUT,
                [("ours", 10.0), ("concurrent_cached", 8.0)],
            ),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn calls_at_once_are_of_different_keys() {
        let runtime = Builder::new_current_thread().build().expect("there is room for one");
        let called = Mutex::new(Vec::new());
        let contender = at_once("notes", &runtime, |key| {
            called.lock().expect("nobody panics").push(key);
            std::future::ready(())
        });
        let counted = contender.counted(|| called.lock().expect("nobody panics").len(), 2 * AT_ONCE);
        assert_eq!(counted, ("notes", 1.0));
        let called = called.lock().expect("nobody panics");
        for batch in called.chunks(AT_ONCE as usize) {
            assert_eq!(batch.iter().collect::<HashSet<_>>().len(), AT_ONCE as usize);
            assert!(batch.iter().all(|key| *key < KEYS as u64));
        }
    }
}
