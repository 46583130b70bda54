package import Model
import Synchronization

/// The convergence secrets that a reader can check contents with, derived as they are met. Safe for several threads.
package final class ContentChecker: Sendable {
    private let secret: @Sendable (UInt16) -> DomainSecret?
    /// Of the vault's own domain, when the checker's is another one: a machine may have been in it before, and what it names
    /// of that time is right.
    private let vaultSecret: (@Sendable (UInt16) -> DomainSecret)?
    private let derivers = Mutex<[UInt16: BlobKeyDeriver]>([:])
    private let vaults = Mutex<[UInt16: BlobKeyDeriver]>([:])

    package init(keys: VaultKeys, domain: String) {
        secret = { keys.domainSecret(domain: domain, number: $0) }
        if domain == DomainSecret.vaultDomain {
            vaultSecret = nil
        } else {
            vaultSecret = { keys.domainSecret(domain: DomainSecret.vaultDomain, number: $0) }
        }
    }

    /// Checks with the secrets that a writer has: what was made with older ones is believed the seal alone.
    package init(secrets: [DomainSecret]) {
        secret = { number in secrets.first { $0.number == number } }
        vaultSecret = nil
    }

    /// The deriver of the domain's secret `number`; `nil` for a secret that is not at hand.
    package func deriver(_ number: UInt16) -> BlobKeyDeriver? {
        derivers.withLock { derivers in
            if let known = derivers[number] { return known }
            guard let secret = secret(number) else { return nil }
            let deriver = BlobKeyDeriver(convergence: secret.secret, number: number)
            derivers[number] = deriver
            return deriver
        }
    }

    /// Whether the contents are what their content key says, as far as can be told with the secrets at hand.
    func accepts(_ plain: UnsafeRawBufferPointer, type: BlobType, key: ContentKey, secret number: UInt16) -> Bool {
        guard let deriver = deriver(number) else { return true }
        if deriver.contentKey(type, plain) == key { return true }
        guard let vaultSecret else { return false }
        let vaults = vaults.withLock { vaults in
            if let known = vaults[number] { return known }
            let made = BlobKeyDeriver(convergence: vaultSecret(number).secret, number: number)
            vaults[number] = made
            return made
        }
        return vaults.contentKey(type, plain) == key
    }

    /// Numbers of secrets met so far, the ones that blobs of this point were made with.
    package var knownNumbers: [UInt16] { derivers.withLock { $0.keys.sorted() } }
}

/// Fetches blobs by content key and opens them; one for each thread.
///
/// Every blob is proved twice on the way: by the tag of its seal and, with a `ContentChecker`, by deriving its content
/// key from the plaintext. A copy that fails is reported to the service, which tries the next one.
package final class BlobFetcher {
    private let service: any BlobSource
    private let checker: ContentChecker?
    private let opener = BlobOpener()
    private var places: [BlobID: Int] = [:]

    package init(service: any BlobSource, checker: ContentChecker?) {
        self.service = service
        self.checker = checker
    }

    /// Gives the plaintext of each of `keys` to `body` with its index, in the order in which the blobs lie in the store.
    ///
    /// - Parameter keys: each once.
    /// - Returns: the indices of the blobs of which no copy is whole; usually none.
    /// - Throws: what the service throws apart from damage, and whatever `body` throws, at once.
    package func fetch(
        _ keys: some RandomAccessCollection<ContentKey>, type: BlobType,
        _ body: (Int, UnsafeRawBufferPointer) throws -> Void
    ) throws -> [Int] {
        var ids: [BlobID] = []
        ids.reserveCapacity(keys.count)
        places.removeAll(keepingCapacity: true)
        let keys = Array(keys)
        for (index, key) in keys.enumerated() {
            let id = BlobCrypto.id(of: key)
            if places.updateValue(index, forKey: id) == nil { ids.append(id) }
        }
        var isDone = [Bool](repeating: false, count: keys.count)
        // An error of `body` must not be taken for a bad copy, whatever its code is.
        var failure: (any Error)?
        do {
            try service.read(ids) { id, framed in
                guard let index = places[id], !isDone[index] else { return }
                try open(framed, key: keys[index], type: type) { plain in
                    isDone[index] = true
                    do { try body(index, plain) } catch {
                        failure = error
                        throw HoldfastError(.cancelled, "reading was given up", cause: error)
                    }
                }
            }
        } catch {
            if let failure { throw failure }
            guard let known = error as? HoldfastError, BlobFetcher.isLoss(known) else { throw error }
        }
        return isDone.indices.filter { !isDone[$0] }
    }

    /// One blob. Throws `damaged` when no copy of it is whole.
    package func fetch<R>(
        _ key: ContentKey, type: BlobType, _ body: (UnsafeRawBufferPointer) throws -> R
    ) throws -> R {
        var result: R?
        let lost = try fetch(CollectionOfOne(key), type: type) { _, plain in result = try body(plain) }
        guard lost.isEmpty, let result else {
            throw HoldfastError(
                .damaged, "a blob is damaged or missing and there is no other copy of it",
                context: ["blob": BlobCrypto.id(of: key).hex])
        }
        return result
    }

    private func open(
        _ framed: UnsafeRawBufferPointer, key: ContentKey, type: BlobType,
        _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        guard let checker else { return try opener.open(framed, key: key, expecting: type, body) }
        let number = try BlobFrame(framed).secretNumber
        try opener.open(framed, key: key, expecting: type) { plain in
            guard checker.accepts(plain, type: type, key: key, secret: number) else {
                throw HoldfastError(
                    .damaged, "a blob is damaged: its plaintext is not what its key says",
                    context: ["blob": BlobCrypto.id(of: key).hex])
            }
            try body(plain)
        }
    }

    /// Whether an error of the service says that some blobs cannot be had while the others were handed over.
    private static func isLoss(_ error: HoldfastError) -> Bool {
        error.code == .damaged || error.code == .missingBlobs || error.code == .notFound || error.code == .misnamed
    }
}
