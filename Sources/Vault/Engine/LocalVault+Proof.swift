import Model
import Synchronization

/// Copies that only another machine sent are opened and checked before a writer may rely on them.
extension LocalVault {
    /// Lets the vault check data blobs that were made with this secret of a domain.
    package func trust(_ secret: DomainSecret) {
        let deriver = BlobKeyDeriver(convergence: secret.secret, number: secret.number)
        derivers.withLock { $0[secret.number, default: []].append(deriver) }
    }

    /// The blobs of which a copy opened to what its content key says; that is noted in the catalog, so that each copy is
    /// checked once.
    func prove(_ blobs: [BlobQuestion]) throws -> Set<BlobID> {
        let derivers = derivers.withLock { $0 }
        if derivers.isEmpty { return [] }
        var keys: [BlobID: ContentKey] = [:]
        for blob in blobs {
            if let key = blob.key, BlobCrypto.id(of: key) == blob.id { keys[blob.id] = key }
        }
        let opener = BlobOpener()
        var proven: Set<BlobID> = []
        var checked: [CopyReference] = []
        let copies = try catalog.copies(of: Array(keys.keys)).filter { $0.condition == .whole && $0.type == .data }
        for copy in copies where !proven.contains(copy.id) {
            guard let key = keys[copy.id], let secrets = derivers[copy.secretNumber] else { continue }
            do {
                let framed = try store.get(StoreKey.pack(copy.packName), copy.range)
                try framed.withUnsafeBytes { framed in
                    try LocalVault.check(framed, is: copy)
                    // Secrets of several domains may have the same number.
                    let content = try opener.open(framed, key: key, expecting: .data) { plain in
                        secrets.contains { $0.contentKey(.data, plain) == key }
                    }
                    guard content else { return }
                    proven.insert(copy.id)
                    checked.append(copy.reference)
                }
            } catch let error as HoldfastError
                where [.damaged, .notFound, .io].contains(error.code)
            {
                // It does not count; verification finds out what is wrong with it.
            }
        }
        try catalog.setChecked(checked, at: clock())
        return proven
    }
}
