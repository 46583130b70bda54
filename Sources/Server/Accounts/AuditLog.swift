package import Catalog
import Crypto
package import Model
package import Vault

/// Who did what: lines that are chained by their hashes, so that none can be changed or taken out without a trace.
package struct AuditLog: Sendable {
    private let catalog: any AccountCatalog
    private let clock: @Sendable () -> Timestamp

    package init(_ catalog: any AccountCatalog, clock: @escaping @Sendable () -> Timestamp) {
        self.catalog = catalog
        self.clock = clock
    }

    /// Writes a line down. What cannot be written down is not done: call it before, or in doubt after and let it throw.
    package func note(
        _ action: String, by who: String, from address: String, to object: String = "", succeeded: Bool = true,
        _ detail: [String: JSONValue] = [:]
    ) throws {
        let line = AuditLine(
            time: clock(), who: who, address: address, action: action, object: object, succeeded: succeeded,
            detail: JSONValue.object(detail).encoded())
        try catalog.append(line) { Self.hash(line, number: $0, previous: $1) }
    }

    /// SHA-256 over the hash before and the line as a JSON object with sorted keys.
    static func hash(_ line: AuditLine, number: Int64, previous: Bytes32) -> Bytes32 {
        let document = JSONValue.object([
            "number": .integer(number), "time": .integer(line.time.nanoseconds), "who": .string(line.who),
            "address": .string(line.address), "action": .string(line.action), "object": .string(line.object),
            "succeeded": .bool(line.succeeded), "detail": .string(Hex.encode(line.detail)),
        ])
        return (previous.array + document.encoded()).withUnsafeBytes { BlobCrypto.sha256($0) }
    }

    /// What a look at the whole chain found.
    package struct Verdict: Hashable, Sendable {
        package var lines: Int64 = 0
        /// The first line that is not what was written, or that does not follow the one before.
        package var firstBroken: Int64?
        /// Of the newest line: who keeps it elsewhere can tell later whether lines are missing at the end.
        package var hash = Bytes32.zero
    }

    package func verify() throws -> Verdict {
        var verdict = Verdict()
        var next: Int64 = 1
        while true {
            let lines = try catalog.auditLines(from: next, limit: 1_000)
            if lines.isEmpty { return verdict }
            for line in lines {
                let isRight =
                    line.number == next && line.previous == verdict.hash
                    && line.hash == Self.hash(line, number: line.number, previous: line.previous)
                if !isRight, verdict.firstBroken == nil { verdict.firstBroken = line.number }
                verdict.lines += 1
                verdict.hash = line.hash
                next = line.number + 1
            }
        }
    }
}
