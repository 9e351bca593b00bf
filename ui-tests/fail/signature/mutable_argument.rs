use cached_runtime::cached;

#[cached]
fn f(out: &mut Vec<u8>) -> usize {
    out.push(1);
    out.len()
}

fn main() {}
