//! Writers, and what they change in a backend.

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Waker};
use std::time::Duration;

use cached_runtime::backend::memory::{Config, Memory};
use cached_runtime::{Backend, cached, invalidates, testing, updates};
use cached_tests::driver::{Fault, Faulty};
use cached_tests::eventually;

use super::{process, within};

#[test]
fn every_process_hears_of_what_a_writer_changes() {
    #[cached(timeout = 300, backend = OWN, name = "writers.get")]
    fn get(id: u32) -> Result<String, ()> {
        Ok(format!("{id} computed"))
    }
    #[cached(timeout = 300, backend = OWN, name = "writers.page")]
    async fn page(id: u32) -> Option<String> {
        Some(format!("{id} computed"))
    }
    static DRIVER: LazyLock<Arc<Memory>> = LazyLock::new(|| Arc::new(Memory::new(Config::default())));
    static OWN: Backend = Backend::driver("writers", || DRIVER.clone());

    #[updates(get(id))]
    fn save(id: u32) -> Option<String> {
        (id > 0).then(|| format!("{id} saved"))
    }
    #[updates(page(id), get(id))]
    async fn save_later(id: u32) -> Result<String, ()> {
        Ok(format!("{id} saved later"))
    }
    #[invalidates(get(id), page(id))]
    async fn forget(id: u32) {
        assert!(get::peek(id).is_some());
    }
    #[invalidates(get)]
    fn forget_all() {}

    let here = testing::isolated().store();
    let elsewhere = testing::isolated().store();
    let there = |id| {
        let _elsewhere = elsewhere.enter();
        (get::peek(id).and_then(Result::ok), smol::block_on(page::peek(id)).flatten())
    };
    let _here = here.enter();
    save(0);
    save(1);
    assert_eq!((there(0).0, there(1).0.as_deref()), (None, Some("1 saved")));
    smol::block_on(save_later(1)).unwrap();
    let later = Some("1 saved later".to_owned());
    assert_eq!(there(1), (later.clone(), later));
    smol::block_on(forget(1));
    assert_eq!(there(1), (None, None));
    save(1);
    forget_all();
    assert_eq!(get::peek(1), None);
}

#[test]
fn a_value_that_an_update_does_not_store_leaves_no_old_one_in_the_backend() {
    #[cached(timeout = 300, backend = "memory://", cache_if = |n| { assert!(*n != 13); *n > 0 })]
    fn positive(key: u8) -> i64 {
        i64::from(key)
    }
    #[updates(positive(1))]
    fn write(n: i64) -> i64 {
        n
    }
    #[updates(positive(1))]
    async fn write_later(n: i64) -> i64 {
        n
    }
    let _own = testing::isolated();
    for n in [-7, 13] {
        positive(1);
        assert_eq!(std::panic::catch_unwind(|| write(n)).is_err(), n == 13);
        assert_eq!(positive::peek(1), None);
        positive(1);
        assert_eq!(std::panic::catch_unwind(|| smol::block_on(write_later(n))).is_err(), n == 13);
        assert_eq!(positive::peek(1), None);
    }
}

#[test]
fn a_backend_that_fails_does_not_fail_the_writer_and_hears_of_it_later() {
    static DRIVER: LazyLock<Arc<Faulty>> = LazyLock::new(Faulty::new);
    static OWN: Backend = Backend::driver("writers that fail", || DRIVER.clone());
    #[cached(timeout = 300, backend = OWN)]
    fn get(id: u32) -> String {
        format!("{id} computed")
    }
    #[invalidates(get(id))]
    fn save(id: u32) -> Result<u32, ()> {
        Ok(id)
    }
    let own = testing::isolated();
    get::put(1, "old".to_owned());
    DRIVER.set_fault(Fault::Refuses);
    assert_eq!(save(1), Ok(1));
    DRIVER.set_fault(Fault::None);
    assert_eq!(get::peek(1), None, "what is owed counts before what is found");
    own.advance(Duration::from_secs(60));
    assert_eq!(get(1), "1 computed");
}

#[test]
fn a_writer_that_is_dropped_after_its_body_has_forgotten_everything() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    async fn shared(id: u32) -> u32 {
        id
    }
    #[cached(timeout = 300, backend = OWN)]
    async fn shared_too(id: u32) -> u32 {
        id
    }
    #[cached(timeout = 300)]
    async fn here(id: u32) -> u32 {
        id
    }
    #[cached(timeout = 300, tags("item:{id}"), backend = OWN)]
    async fn tagged(id: u32) -> u32 {
        id
    }
    #[invalidates(shared(id), shared_too, here(id), tag("item:{id}"))]
    async fn save(id: u32) {
        DRIVER.set_fault(Fault::Hangs);
    }
    #[updates(here(id), shared(id))]
    async fn replace(id: u32) -> u32 {
        DRIVER.set_fault(Fault::Hangs);
        id + 100
    }
    fn drop_after_one_poll(writer: impl Future) {
        let polled = pin!(writer).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "the backend does not answer");
        DRIVER.set_fault(Fault::None);
    }
    let other = process();
    within(&process(), || {
        smol::block_on(async {
            assert_eq!((shared(1).await, shared_too(1).await, here(1).await, tagged(1).await), (1, 1, 1, 1));
            drop_after_one_poll(save(1));
            assert_eq!((shared::peek(1).await, shared_too::peek(1).await), (None, None));
            assert_eq!((here::peek(1).await, tagged::peek(1).await), (None, None));
        });
        eventually(|| within(&other, || smol::block_on(shared::peek(1))).is_none());
        smol::block_on(async {
            assert_eq!((shared(2).await, here(2).await), (2, 2));
            drop_after_one_poll(replace(2));
            assert_eq!((shared::peek(2).await, here::peek(2).await), (None, Some(102)));
        });
    });
}
