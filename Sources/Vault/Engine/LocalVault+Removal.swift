import Model

/// Deleting packs, and how a catalog is known that was there before.
///
/// A catalog may be put back from a copy, alone or with everything that lies beside it, or be copied with the vault while
/// packs are deleted. Relying on packs that were deleted since would lose what a backup leaves out for their sake. So the
/// *store* says how far deletion has gone: an empty object `removals/<number>`, older ones are deleted.
///
/// 1. One durable transaction raises the catalog's number and answers all packs that are condemned in it.
/// 2. The object of that number is stored; then older ones are deleted.
/// 3. Those packs are deleted, and no others.
///
/// So whatever was deleted under numbers up to the store's newest is condemned in every state of the catalog that has that
/// number. A state with a lower one is from before, and is compared with the list of packs before anything relies on it:
/// what it misses was removed by the collector since, as far as anybody can tell. A catalog that is *ahead* of the store was
/// left so by a power cut, or the object was not copied: it is compared too, but what it misses is lost, not forgotten. A
/// catalog that only lacks what was added since costs work, never data.
extension LocalVault {
    /// What the number in the store says about the catalog.
    enum CatalogAge {
        case current
        /// Packs were deleted that the catalog believes in.
        case older
        /// The catalog announced deletions that the store does not know of.
        case newer
    }

    /// The newest removal in the store; 0 for none.
    private func newestRemoval() throws -> UInt64 {
        var newest: UInt64 = 0
        try store.list(StoreKey.removalsPrefix) { object in
            newest = max(newest, StoreKey.removalNumber(of: object.key) ?? 0)
            return true
        }
        return newest
    }

    /// The catalog's age, and the numbers that say so.
    func catalogAge() throws -> (age: CatalogAge, stored: UInt64, own: UInt64) {
        // The store first: a deletion that is announced in between makes the catalog newer, never older.
        var stored = try newestRemoval()
        var own = try catalog.removals()
        if stored != own {
            // Another process may have been between the two.
            stored = try newestRemoval()
            own = try catalog.removals()
        }
        return (stored == own ? .current : stored > own ? .older : .newer, stored, own)
    }

    /// Says that the catalog was compared with the list of packs, after `catalogAge` answered `stored` and `own`.
    func settle(stored: UInt64, own: UInt64) throws {
        try catalog.renewWitness(removals: stored)
        // Failing to say so costs another comparison.
        if own > stored, mayChange { _ = try? store.put(StoreKey.removal(own), []) }
    }

    /// Deletes the objects of condemned packs. Only packs that this vault condemned are ever deleted.
    @discardableResult
    func deleteCondemned() throws -> UInt64 {
        try config.check(operation: .delete)
        try owner?.confirm()
        if try catalog.condemnedPacks().isEmpty { return 0 }
        let (number, condemned) = try catalog.announceRemoval(above: try newestRemoval())
        try store.put(StoreKey.removal(number), [])
        var older: [String] = []
        try store.list(StoreKey.removalsPrefix) { object in
            if let other = StoreKey.removalNumber(of: object.key), other < number { older.append(object.key) }
            return true
        }
        try store.delete(older)
        var freed: UInt64 = 0
        for start in stride(from: 0, to: condemned.count, by: 64) {
            let batch = condemned[start..<min(start + 64, condemned.count)]
            try store.delete(batch.map { StoreKey.pack($0.name) })
            try catalog.packsDeleted(batch.map(\.number))
            freed += batch.reduce(0) { $0 + $1.bytes }
        }
        return freed
    }
}
