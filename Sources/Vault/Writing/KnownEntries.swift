package import Model

/// What a writer knows of paths from runs before, for the walk that looks which of them changed.
///
/// The walk asks in the order of the tree's keys. One call for each path through a table costs nothing beside its `statx`.
package protocol KnownEntries: AnyObject {
    /// Unchanged small files that are to be read and bundled again.
    var plan: RebundlePlan { get }

    /// What is known of a key, when `isWanted` says so of its identity, kind, size and modification time.
    func find(
        _ key: [UInt8], where isWanted: (FileIdentity, EntryKind, UInt64, FileTime) -> Bool
    ) -> CachedEntry?

    /// Whether anything is known of a key that begins with `prefix`; the walk asks for no key below it any more.
    func hasKey(beginningWith prefix: [UInt8]) -> Bool

    /// Whether what `find` gives for a key was known under another one: the file was renamed, which changes its change time
    /// and nothing else.
    func isMoved(_ key: [UInt8]) -> Bool
}
