//! Hits: what a call costs whose value is there and fresh.

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::Options;
use crate::measure::{Case, Contender, Effort, Measured, measure};
use crate::report::{self, Json};

/// Measures and prints; fails if a call was not a hit, or if nothing can be printed.
pub(crate) fn run(options: Options, out: &mut dyn Write) -> io::Result<()> {
    let effort = Effort::new(options.quick);
    if !options.json {
        let packages = ["cached-runtime", "cached", "moka", "quick_cache"];
        writeln!(out, "{}", report::environment(&packages))?;
        writeln!(
            out,
            "ns per hit, median of {} rounds; each time includes `loop`, which picks the key\n",
            effort.rounds
        )?;
    }
    let (peers, names) = (Peers::new(), names());
    let cases = cases(&peers, &names);

    let computed = COMPUTED.load(Relaxed);
    let measured = measure(&cases, effort);
    let misses = COMPUTED.load(Relaxed) - computed;
    if misses > 0 {
        return Err(io::Error::other(format!("{misses} calls were misses; the times are not those of hits")));
    }
    if options.json { print_json(&measured, out) } else { print_table(&measured, out) }
}

/// How often a body has run, whoever called it.
static COMPUTED: AtomicU64 = AtomicU64::new(0);

/// The body of the functions of a number.
fn square(number: u64) -> u64 {
    COMPUTED.fetch_add(1, Relaxed);
    number.wrapping_mul(number)
}

/// The body of the functions of a text.
fn upper(text: &str) -> Arc<str> {
    COMPUTED.fetch_add(1, Relaxed);
    text.to_uppercase().into()
}

// As in the attributes, which take literals.
const CAPACITY: usize = 100_000;
const TIMEOUT: Duration = Duration::from_hours(1);

#[cached_runtime::cached(timeout = 3600, capacity = 100_000)]
fn ours_square(number: u64) -> u64 {
    square(number)
}

#[cached_runtime::cached(timeout = 3600, capacity = 100_000)]
fn ours_upper(text: &str) -> Arc<str> {
    upper(text)
}

#[cached::macros::cached(max_size = 100_000, ttl_secs = 3600)]
fn cached_square(number: u64) -> u64 {
    square(number)
}

#[cached::macros::cached(max_size = 100_000, ttl_secs = 3600)]
fn cached_upper(text: &str) -> Arc<str> {
    upper(text)
}

#[cached::macros::concurrent_cached(max_size = 100_000, ttl_secs = 3600)]
fn concurrent_square(number: u64) -> u64 {
    square(number)
}

#[cached::macros::concurrent_cached(max_size = 100_000, ttl_secs = 3600)]
fn concurrent_upper(text: &str) -> Arc<str> {
    upper(text)
}

/// The caches that come without an attribute.
struct Peers {
    moka_squares: moka::sync::Cache<u64, u64>,
    moka_texts: moka::sync::Cache<String, Arc<str>>,
    /// Without expiry: it has none.
    quick_squares: quick_cache::sync::Cache<u64, u64>,
    quick_texts: quick_cache::sync::Cache<String, Arc<str>>,
}

impl Peers {
    fn new() -> Self {
        let capacity = CAPACITY as u64;
        Self {
            moka_squares: moka::sync::Cache::builder().max_capacity(capacity).time_to_live(TIMEOUT).build(),
            moka_texts: moka::sync::Cache::builder().max_capacity(capacity).time_to_live(TIMEOUT).build(),
            quick_squares: quick_cache::sync::Cache::new(CAPACITY),
            quick_texts: quick_cache::sync::Cache::new(CAPACITY),
        }
    }

    // By reference, because `get_with` allocates the key even for a hit.
    fn moka_square(&self, number: u64) -> u64 {
        self.moka_squares.get_with_by_ref(&number, || square(number))
    }

    fn moka_upper(&self, text: &str) -> Arc<str> {
        self.moka_texts.get_with_by_ref(text, || upper(text))
    }

    fn quick_square(&self, number: u64) -> u64 {
        let Ok(value) =
            self.quick_squares.get_or_insert_with(&number, || Ok::<_, Infallible>(square(number)));
        value
    }

    fn quick_upper(&self, text: &str) -> Arc<str> {
        let Ok(value) = self.quick_texts.get_or_insert_with(text, || Ok::<_, Infallible>(upper(text)));
        value
    }
}

const THREADS: [u32; 2] = [1, 2];

/// The cases of numbers, each with how many keys it asks for.
const NUMBERS: [(&str, usize); 3] = [("u64", 1000), ("hot key", 1), ("4 hot keys", 4)];

/// The keys of the case of texts.
fn names() -> Vec<String> {
    (0..1000).map(|number| format!("customer:{number}")).collect()
}

fn cases<'a>(peers: &'a Peers, names: &'a [String]) -> Vec<Case<'a>> {
    let numbers = NUMBERS.into_iter().flat_map(|(name, keys)| {
        THREADS.map(|threads| Case { name, threads, contenders: of_numbers(peers, keys) })
    });
    let texts = THREADS.map(|threads| Case { name: "str", threads, contenders: of_texts(peers, names) });
    numbers.chain(texts).collect()
}

fn of_numbers(peers: &Peers, keys: usize) -> Vec<Contender<'_>> {
    vec![
        contender("ours", keys, |key| ours_square(key as u64)),
        contender("cached", keys, |key| cached_square(key as u64)),
        contender("concurrent_cached", keys, |key| concurrent_square(key as u64)),
        contender("moka", keys, |key| peers.moka_square(key as u64)),
        contender("quick_cache", keys, |key| peers.quick_square(key as u64)),
        contender("loop", keys, |key| key as u64),
    ]
}

fn of_texts<'a>(peers: &'a Peers, names: &'a [String]) -> Vec<Contender<'a>> {
    let keys = names.len();
    vec![
        contender("ours", keys, |key| ours_upper(&names[key])),
        contender("cached", keys, |key| cached_upper(&names[key])),
        contender("concurrent_cached", keys, |key| concurrent_upper(&names[key])),
        contender("moka", keys, |key| peers.moka_upper(&names[key])),
        contender("quick_cache", keys, |key| peers.quick_upper(&names[key])),
        contender("loop", keys, |key| names[key].as_str()),
    ]
}

/// One who is called with random ones of so many keys, and has been called with each of them.
fn contender<'a, V>(name: &'static str, keys: usize, call: impl Fn(usize) -> V + Sync + 'a) -> Contender<'a> {
    for key in 0..keys {
        black_box(call(key));
    }
    Contender::new(name, move |thread, operations| {
        let mut keys = Keys::new(keys, thread);
        for _ in 0..operations {
            black_box(call(black_box(keys.pick())));
        }
    })
}

/// Picks one of so many keys at random: Marsaglia's xorshift, "Xorshift RNGs", 2003.
struct Keys {
    state: u64,
    keys: u64,
}

impl Keys {
    /// Every contender gets the same keys, every thread others.
    fn new(keys: usize, thread: u32) -> Self {
        let state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(u64::from(thread) * 2 + 1);
        Self { state, keys: keys as u64 }
    }

    fn pick(&mut self) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let key = ((self.state >> 32) * self.keys) >> 32;
        // Less than `keys`, which came from a `usize`.
        usize::try_from(key).unwrap_or_default()
    }
}

fn print_json(measured: &[Measured], out: &mut dyn Write) -> io::Result<()> {
    for case in measured {
        let label = case.label();
        let mut fields = vec![("bench", Json::Text("hit")), ("case", Json::Text(&label))];
        let compared = case.times.iter().filter(|(name, _)| *name != "loop");
        fields.extend(compared.map(|(name, time)| (*name, Json::Number(*time))));
        fields.push(("unit", Json::Text("ns")));
        writeln!(out, "{}", report::json(&fields))?;
    }
    Ok(())
}

fn print_table(measured: &[Measured], out: &mut dyn Write) -> io::Result<()> {
    let names = measured.first().into_iter().flat_map(|case| &case.times).map(|(name, _)| *name);
    let headings = ["case"].into_iter().chain(names).chain(["ours/quick_cache", "ours/cached"]);
    let headings = headings.map(str::to_owned).collect();
    let rows: Vec<_> = [headings].into_iter().chain(measured.iter().map(row)).collect();
    writeln!(out, "{}", report::table(&rows))?;
    write!(out, "{}", report::table(&scaling(measured)))
}

fn row(case: &Measured) -> Vec<String> {
    let over = |peer| Some(case.time("ours")? / case.time(peer)?);
    let times = case.times.iter().map(|(_, time)| report::number(Some(*time), 1));
    let ratios = [over("quick_cache"), over("cached")].map(|ratio| report::number(ratio, 2));
    [case.label()].into_iter().chain(times).chain(ratios).collect()
}

/// How many times the throughput of one thread two have: 2 at best, and for the loop, which shares
/// nothing, less only where the machine was busy.
fn scaling(measured: &[Measured]) -> Vec<Vec<String>> {
    let with = |threads| measured.iter().filter(move |case| case.threads == threads);
    let pairs = with(1).filter_map(|one| Some((one, with(2).find(|two| two.name == one.name)?)));
    let rows = pairs.map(|(one, two)| {
        let over = |contender| Some(one.time(contender)? / two.time(contender)?);
        let numbers = ["ours", "loop"].map(|contender| report::number(over(contender), 2));
        [one.name.to_owned()].into_iter().chain(numbers).collect()
    });
    let headings = ["throughput, 2 threads over 1", "ours", "loop"].map(str::to_owned).to_vec();
    [headings].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &'static str, threads: u32, ours: f64) -> Measured {
        let times = vec![("ours", ours), ("cached", 40.0), ("quick_cache", 10.0), ("loop", 1.0)];
        Measured { name, threads, times }
    }

    fn printed(print: fn(&[Measured], &mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        let measured = [measured("u64", 1, 20.0), measured("u64", 2, 12.5), measured("alone", 1, 4.0)];
        print(&measured, &mut out).expect("a vector takes all");
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn the_table_has_ratios_and_scaling() {
        let expected = "\
case            ours  cached  quick_cache  loop  ours/quick_cache  ours/cached
u64 1 thread    20.0    40.0         10.0   1.0              2.00         0.50
u64 2 threads   12.5    40.0         10.0   1.0              1.25         0.31
alone 1 thread   4.0    40.0         10.0   1.0              0.40         0.10

throughput, 2 threads over 1  ours  loop
u64                           1.60  1.00
";
        assert_eq!(printed(print_table), expected);
    }

    #[test]
    fn json_is_a_line_for_each_case() {
        let printed = printed(print_json);
        let first = printed.lines().next();
        let expected = r#"{"bench":"hit","case":"u64 1 thread","ours":20.00,"cached":40.00,"quick_cache":10.00,"unit":"ns"}"#;
        assert_eq!(first, Some(expected));
        assert_eq!(printed.lines().count(), 3);
    }

    #[test]
    fn all_contenders_answer_alike() {
        let peers = Peers::new();
        let (square, concurrent) = (cached_square(7), concurrent_square(7));
        assert_eq!(
            [ours_square(7), square, concurrent, peers.moka_square(7), peers.quick_square(7)],
            [49; 5]
        );
        let (upper, concurrent) = (cached_upper("a"), concurrent_upper("a"));
        for text in [ours_upper("a"), upper, concurrent, peers.moka_upper("a"), peers.quick_upper("a")] {
            assert_eq!(&*text, "A");
        }
    }

    #[test]
    fn keys_are_uniform_and_differ_between_threads() {
        let picked = |thread| {
            let mut keys = Keys::new(4, thread);
            (0..4000).map(|_| keys.pick()).collect::<Vec<_>>()
        };
        for key in 0..4 {
            let count = picked(0).iter().filter(|it| **it == key).count();
            assert!((900..1100).contains(&count), "{key}: {count}");
        }
        assert_ne!(picked(0), picked(1));
        assert!(!picked(0).contains(&4));
    }
}
