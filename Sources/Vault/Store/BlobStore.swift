/// What a store says about one object.
package struct StoredObject: Hashable, Sendable {
    package let key: String
    /// In bytes.
    package let size: UInt64

    package init(key: String, size: UInt64) {
        self.key = key
        self.size = size
    }
}

/// How much room a store has, in bytes.
package struct StoreSpace: Hashable, Sendable {
    package let total: UInt64
    /// What this program may still write.
    package let available: UInt64

    package init(total: UInt64, available: UInt64) {
        self.total = total
        self.available = available
    }
}

/// What `put` does when the key is taken.
package enum PutMode: Sendable {
    /// The object that is there stays.
    case ifAbsent
    /// It is replaced in one step: readers see the old or the new object.
    case replacing
}

/// Named immutable byte strings: a directory, a bucket.
///
/// Keys are ASCII, components of letters, digits, `.`, `_` and `-` separated by `/` (see `StoreKey`). Methods block and
/// may be called from any thread. Behaviours (retry, limits, counting, caching, faults) are decorators over this
/// protocol.
///
/// Errors are `HoldfastError`s of three kinds:
/// * *permanent*: `notFound`, `denied`, `unsupported`, `damaged`, and `usage` for a malformed key. Trying again does
///   not help.
/// * *full*: `noSpace`. Nothing was stored; deletion and reading go on working.
/// * *temporary*: `isTemporary` is true. The same call may succeed later; `RetryingStore` repeats it. Every method is
///   idempotent, so a call whose outcome is unknown can be repeated.
package protocol BlobStore: AnyObject, Sendable {
    /// Where the store is, for messages.
    var location: String { get }

    /// Stores an object. When it returns, the object survives a power cut; before, nothing stands under its key.
    ///
    /// - Returns: whether it was created; `false` when the key was taken and the mode is `.ifAbsent` (the object that
    ///   is there survives a power cut too). Repeating a call whose outcome was lost may answer `false` for the
    ///   caller's own object.
    func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool

    /// Reads a whole object of at most `limit` bytes. `notFound` when there is none, `damaged` when it is longer.
    func get(_ key: String, atMost limit: Int) throws -> [UInt8]

    /// Fills `buffer` with the object's bytes from `offset`. `notFound` when there is no such object, `damaged` when
    /// it ends before.
    func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws

    /// The size of an object; `nil` when there is none.
    func head(_ key: String) throws -> UInt64?

    /// Calls `body` with each object whose key begins with `prefix`, in no order, until it answers `false`. Objects
    /// put or deleted meanwhile may or may not be among them.
    func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws

    /// Deletes objects; those that do not exist are passed over. When it returns, none of them comes back after a
    /// power cut. After an error some may be gone.
    func delete(_ keys: [String]) throws

    /// How much room there is; `nil` when the store knows no bound.
    func space() throws -> StoreSpace?
}

extension BlobStore {
    /// Stores an object unless its key is taken; see `put(_:_:mode:)` of the protocol.
    @discardableResult
    package func put(_ key: String, _ bytes: [UInt8], mode: PutMode = .ifAbsent) throws -> Bool {
        try bytes.withUnsafeBytes { try put(key, $0, mode: mode) }
    }

    /// The bytes of `range` of an object.
    package func get(_ key: String, _ range: Range<UInt64>) throws -> [UInt8] {
        let count = range.count
        return try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialised in
            try read(
                key, at: range.lowerBound,
                into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count))
            initialised = count
        }
    }

    /// Deletes one object; passes over one that does not exist.
    package func delete(_ key: String) throws { try delete([key]) }

    /// Whether there is an object with this key.
    package func contains(_ key: String) throws -> Bool { try head(key) != nil }
}

/// A store that can set room aside and give it back when it is full, so that deletion, which must first write down what
/// it is going to do, still works.
package protocol SpaceReserve: AnyObject, Sendable {
    /// Sets the room aside unless it is already, or unless so little is left that this would fill the store.
    ///
    /// - Returns: whether the reserve exists now.
    @discardableResult
    func createReserve() throws -> Bool

    /// Gives the room back. Returns whether there was a reserve.
    @discardableResult
    func releaseReserve() throws -> Bool

    /// Takes the room again that was given back, as much as is left of it, however full the store is. Returns whether
    /// there is a reserve now.
    @discardableResult
    func retakeReserve() throws -> Bool
}

extension SpaceReserve {
    package func retakeReserve() throws -> Bool { try createReserve() }
}
