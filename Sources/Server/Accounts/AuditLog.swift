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
        /// The line that was kept elsewhere is not there, or is another one: the log was shortened, or made anew.
        package var lacksKept = false

        package var isWhole: Bool { firstBroken == nil && !lacksKept }
    }

    /// A line as somebody has kept it elsewhere.
    package struct Mark: Hashable, Sendable {
        package var number: Int64
        package var hash: Bytes32

        /// Reads `NUMBER:HASH`, as it is printed.
        package init?(_ text: String) {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, let number = Int64(parts[0]), number > 0, let bytes = Hex.decode(String(parts[1])),
                let hash = Bytes32(bytes)
            else { return nil }
            self.number = number
            self.hash = hash
        }
    }

    /// Looks at every line.
    ///
    /// - Parameter kept: a line that somebody has kept elsewhere. Without one a log that was shortened at its end is whole.
    package func verify(_ kept: Mark? = nil) throws -> Verdict {
        var verdict = Verdict()
        verdict.lacksKept = kept != nil
        var next: Int64 = 1
        while true {
            let lines: [AuditLine]
            do { lines = try catalog.auditLines(from: next, limit: 1_000) } catch let error as HoldfastError
                where error.code == .damaged
            {
                // A line that cannot even be read is none that was written.
                if verdict.firstBroken == nil { verdict.firstBroken = next }
                return verdict
            }
            if lines.isEmpty {
                // Nobody has an account without a line that says so.
                if verdict.lines == 0, try !catalog.accounts().isEmpty { verdict.firstBroken = 1 }
                return verdict
            }
            for line in lines {
                let isRight =
                    line.number == next && line.previous == verdict.hash
                    && line.hash == Self.hash(line, number: line.number, previous: line.previous)
                if !isRight, verdict.firstBroken == nil { verdict.firstBroken = line.number }
                if line.number == kept?.number, line.hash == kept?.hash { verdict.lacksKept = false }
                verdict.lines += 1
                verdict.hash = line.hash
                next = line.number + 1
            }
        }
    }
}
