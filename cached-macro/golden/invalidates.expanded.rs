pub fn rename(id: u64, name: &str) -> Result<(), Error> {
    let entry0 = users::get::__entry(::cached_runtime::__rt::Place::of(&id).copy());
    let tag2 = ::std::format!("user:{id}");
    let (kind, success) = {
        let returned = ::cached_runtime::__rt::run(move || -> Result<(), Error> {
            write(id, name)
        });
        let kind = ::cached_runtime::__rt::finished(
            ::cached_runtime::__rt::Returned::of(&returned).__kind(),
        );
        match ::cached_runtime::__rt::split(kind, returned) {
            ::core::result::Result::Ok(success) => (kind, success),
            ::core::result::Result::Err(failed) => return failed,
        }
    };
    ::cached_runtime::__rt::forget(entry0);
    ::cached_runtime::__rt::cleared(list_users::clear());
    ::cached_runtime::store().invalidate_tag(&tag2);
    ::cached_runtime::__rt::join(kind, success)
}
