package import Model
import Platform
package import Vault

/// What a backup of some files would take, by the look of a sample.
///
/// Each place that a survey drew stands for the same share of all bytes. What the vault has already is asked of it; equal
/// pieces within the sample count once. Equal pieces outside of it are not seen, so the true size is rather smaller.
package struct SizeEstimate: Sendable {
    package var files: UInt64 = 0
    package var bytes: UInt64 = 0
    /// Places that could be read, and their bytes.
    package var sampledPlaces: UInt64 = 0
    package var sampledBytes: UInt64 = 0
    /// Bytes that the vault does not have, before compression.
    package var newBytes: UInt64 = 0
    /// What they would take in the vault.
    package var storedBytes: UInt64 = 0
    /// How long a backup would take.
    package var nanoseconds: UInt64 = 0

    /// Looks at the places of `survey`.
    ///
    /// - Parameters:
    ///   - secret: cuts and names pieces as a backup would.
    ///   - missing: which blobs the vault does not have; at most `VaultLimits.missingBatch` at once.
    ///   - threads: how many a backup would use.
    ///   - visit: called after each place; throwing ends the estimate.
    package static func make(
        _ survey: TreeSurvey, secret: DomainSecret, compression: Compression, threads: Int, walkNanoseconds: UInt64,
        missing: ([BlobID]) throws -> [Bool], _ visit: (_ done: Int, _ of: Int) throws -> Void = { _, _ in }
    ) throws -> SizeEstimate {
        var estimate = SizeEstimate()
        estimate.files = survey.files
        estimate.bytes = survey.bytes
        var sampler = Sampler(secret: secret, compression: compression)
        let places = survey.places
        var results: [TreeSurvey.Place: Sampler.Result] = [:]
        var shares: (new: Double, stored: Double) = (0, 0)
        var drawn = 0
        let start = SystemClock.monotonic
        for (index, place) in places.enumerated() {
            try visit(index, places.count)
            if results[place] == nil {
                guard let result = try sampler.look(at: place, missing: missing) else { continue }
                results[place] = result
                estimate.sampledPlaces += 1
                estimate.sampledBytes += result.bytes
            }
            guard let result = results[place], result.bytes > 0 else { continue }
            shares.new += Double(result.newBytes) / Double(result.bytes)
            shares.stored += Double(result.storedBytes) / Double(result.bytes)
            drawn += 1
        }
        let spent = UInt64(max(SystemClock.monotonic - start, 0))
        guard drawn > 0, estimate.sampledBytes > 0 else {
            estimate.nanoseconds = walkNanoseconds
            return estimate
        }
        let all = Double(survey.bytes)
        estimate.newBytes = UInt64(all * shares.new / Double(drawn))
        // Entries of the tree, compressed: some thirty bytes for each file.
        estimate.storedBytes = UInt64(all * shares.stored / Double(drawn)) + 30 * survey.files
        let perByte = Double(spent) / Double(estimate.sampledBytes) / Double(max(threads, 1))
        estimate.nanoseconds = walkNanoseconds + UInt64(all * perByte)
        return estimate
    }
}

/// Reads, cuts, names and seals pieces as a backup does, and keeps nothing.
private struct Sampler {
    struct Result {
        var bytes: UInt64 = 0
        var newBytes: UInt64 = 0
        var storedBytes: UInt64 = 0
    }

    private let chunker: Chunker
    private let deriver: BlobKeyDeriver
    private let number: UInt16
    private let sealer: BlobSealer
    private var seen: Set<BlobID> = []
    private var buffer = [UInt8](repeating: 0, count: TreeSurvey.pieceLength)
    private var sealed: [UInt8] = []

    init(secret: DomainSecret, compression: Compression) {
        chunker = Chunker(gearTable: secret.gearTable)
        deriver = BlobKeyDeriver(convergence: secret.secret, number: secret.number)
        number = secret.number
        sealer = BlobSealer(compression: compression)
    }

    /// `nil` for what cannot be read.
    mutating func look(at place: TreeSurvey.Place, missing: ([BlobID]) throws -> [Bool]) throws -> Result? {
        let count: Int
        do {
            let file = try DirectoryPath.openFile(place.path, [.readOnly, .nonBlocking])
            guard try file.status().kind == .regular else { return nil }
            count = try buffer.withUnsafeMutableBytes { try file.readFully(into: $0, at: place.offset) }
        } catch {
            return nil
        }
        if count == 0 { return nil }
        var result = Result(bytes: UInt64(count))
        var position = 0
        while position < count {
            try buffer.withUnsafeBytes { bytes in
                let rest = UnsafeRawBufferPointer(rebasing: bytes[position..<count])
                let length = chunker.cut(rest, isLast: true) ?? rest.count
                let piece = UnsafeRawBufferPointer(rebasing: rest[..<length])
                position += length
                let key = deriver.contentKey(.data, piece)
                let id = BlobCrypto.id(of: key)
                guard seen.insert(id).inserted, try missing([id]).first ?? true else { return }
                sealed.removeAll(keepingCapacity: true)
                _ = try sealer.seal(
                    type: .data, key: key, id: id, secretNumber: number, references: [], plain: piece, into: &sealed)
                result.newBytes += UInt64(length)
                result.storedBytes += UInt64(sealed.count) + 56
            }
        }
        return result
    }
}
