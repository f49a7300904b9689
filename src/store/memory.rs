//! memory
#[derive(Debug)]
pub struct MemoryStore;
