package import Model

/// How consistent the state of a point is.
package enum Consistency: UInt8, Sendable, CaseIterable {
    /// As after a power cut: files at different instants.
    case crash = 1
    /// All files at one instant.
    case file = 2
    /// All files at one instant at which the applications were asked to settle.
    case application = 3
}

/// What a capture did, in numbers.
package struct PointStatistics: Hashable, Sendable {
    /// Entries of the tree.
    package var entries: UInt64 = 0
    /// Regular files among them.
    package var files: UInt64 = 0
    /// Directories among them.
    package var directories: UInt64 = 0
    /// Sum of the files' logical sizes in bytes.
    package var bytes: UInt64 = 0
    /// Bytes that were read from files.
    package var bytesRead: UInt64 = 0
    /// Bytes of content that the vault did not have.
    package var newBytes: UInt64 = 0
    /// Bytes that were added to the store, after compression.
    package var storedBytes: UInt64 = 0
    /// Duration of the capture in milliseconds.
    package var milliseconds: UInt64 = 0

    package init() {}

    /// The numbers in the order of the format.
    fileprivate var values: [UInt64] {
        [entries, files, directories, bytes, bytesRead, newBytes, storedBytes, milliseconds]
    }

    /// Reads the numbers; a newer version may append further ones.
    fileprivate init(_ reader: inout ByteReader) throws {
        entries = try reader.varint()
        files = try reader.varint()
        directories = try reader.varint()
        bytes = try reader.varint()
        bytesRead = try reader.varint()
        newBytes = try reader.varint()
        storedBytes = try reader.varint()
        milliseconds = try reader.varint()
    }
}

/// A path that could not be captured as it is, and why.
package struct PointWarning: Hashable, Sendable {
    /// The kind of trouble; an open set, so that older programs can show what newer ones write.
    package struct Reason: RawRepresentable, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Something else; the text says what.
        package static let other = Reason(rawValue: 0)
        /// Reading was not allowed.
        package static let denied = Reason(rawValue: 1)
        /// It was there and went away while it was read.
        package static let vanished = Reason(rawValue: 2)
        /// It went on changing while it was read.
        package static let changed = Reason(rawValue: 3)
        /// The file system reported an input or output error.
        package static let io = Reason(rawValue: 4)
        /// Some of its metadata cannot be kept.
        package static let metadata = Reason(rawValue: 5)
        /// It is of a kind that cannot be kept.
        package static let unsupported = Reason(rawValue: 6)
        /// A file system that should be there is not mounted, or another one was left out.
        package static let mount = Reason(rawValue: 7)
    }

    /// Longest text in bytes.
    package static let maximumTextLength = 4096

    package var reason: Reason
    /// The path in bytes.
    package var path: [UInt8]
    /// For a person.
    package var text: String

    package init(reason: Reason, path: [UInt8], text: String) {
        self.reason = reason
        self.path = path
        self.text = text
    }
}

/// The sealed part of a point: where its tree is, and what is to be said about it.
package struct PointRecord: SecretValue {
    /// Longest label, host name or version in bytes.
    package static let maximumTextLength = 1024
    /// Most labels.
    package static let maximumLabels = 64
    /// Most protected paths.
    package static let maximumProtectedPaths = 65_536
    /// Most warnings that are written one by one; further ones are counted.
    package static let maximumWarnings = 10_000
    /// Most rules of what was left out; the last one that is written counts the rest.
    package static let maximumExclusions = 256
    /// Bytes of warnings after which further ones are only counted.
    static let maximumWarningBytes = 1 << 20

    /// The root of the tree; the state is this and `deltas` over it.
    package var root: ContentKey
    /// Oldest first, at most 32.
    package var deltas: [ContentKey] = []
    package var labels: [String] = []
    package var consistency: Consistency = .crash
    package var statistics = PointStatistics()
    package var warnings: [PointWarning] = []
    /// How many warnings there were beyond `warnings`.
    package var furtherWarnings: UInt64 = 0
    /// What was protected, as paths in bytes.
    package var protectedPaths: [[UInt8]] = []
    package var host: String = ""
    package var program: String = ""
    /// The rules by which names were left out, as on the command line and each cut to its bound: what the point does not have
    /// may have been there. Empty when nothing was left out on purpose.
    package var exclusions: [[UInt8]] = []

    package init(root: ContentKey) { self.root = root }

    /// Warnings in all.
    package var warningCount: UInt64 { UInt64(warnings.count) + furtherWarnings }

    // MARK: Coding

    private enum Tag: UInt64 {
        case root = 1
        case delta
        case label
        case consistency
        case statistics
        case warning
        case furtherWarnings
        case protectedPath
        case host
        case program
        case exclusion
    }

    /// The bytes of the format. Warnings beyond the bounds are counted instead of written; texts beyond theirs are cut.
    ///
    /// Throws `internalError` for more than 32 deltas, and `usage` when labels and paths do not fit.
    package func encoded() throws -> [UInt8] {
        guard deltas.count <= FormatLimits.deltas else {
            throw HoldfastError(.internalError, "A point has at most \(FormatLimits.deltas) deltas.")
        }
        guard labels.count <= PointRecord.maximumLabels else {
            throw HoldfastError(.usage, "A point has at most \(PointRecord.maximumLabels) labels.")
        }
        guard protectedPaths.count <= PointRecord.maximumProtectedPaths,
            protectedPaths.allSatisfy({ $0.count <= FormatLimits.keyLength })
        else {
            throw HoldfastError(.usage, "A point has at most \(PointRecord.maximumProtectedPaths) protected paths.")
        }
        var writer = ByteWriter(capacity: 512)
        func field(_ tag: Tag, _ value: some Collection<UInt8>) {
            writer.varint(tag.rawValue)
            writer.counted(value)
        }
        func number(_ value: UInt64) -> [UInt8] {
            var inner = ByteWriter()
            inner.varint(value)
            return inner.bytes
        }
        field(.root, root.bytes.array)
        for delta in deltas { field(.delta, delta.bytes.array) }
        for label in labels { field(.label, PointRecord.cut(label, PointRecord.maximumTextLength)) }
        field(.consistency, [consistency.rawValue])
        field(.statistics, statistics.values.flatMap(number))
        var further = furtherWarnings
        var warningBytes = 0
        for (index, warning) in warnings.enumerated() {
            var inner = ByteWriter()
            inner.u8(warning.reason.rawValue)
            inner.counted(warning.path.prefix(FormatLimits.keyLength))
            inner.counted(PointRecord.cut(warning.text, PointWarning.maximumTextLength))
            warningBytes += inner.bytes.count
            if index >= PointRecord.maximumWarnings || warningBytes > PointRecord.maximumWarningBytes {
                further += UInt64(warnings.count - index)
                break
            }
            field(.warning, inner.bytes)
        }
        if further > 0 { field(.furtherWarnings, number(further)) }
        for path in protectedPaths { field(.protectedPath, path) }
        if !host.isEmpty { field(.host, PointRecord.cut(host, PointRecord.maximumTextLength)) }
        if !program.isEmpty { field(.program, PointRecord.cut(program, PointRecord.maximumTextLength)) }
        let isTooMuch = exclusions.count > PointRecord.maximumExclusions
        for rule in isTooMuch ? exclusions.prefix(PointRecord.maximumExclusions - 1) : exclusions[...] {
            field(.exclusion, rule.prefix(PointRecord.maximumTextLength))
        }
        if isTooMuch { field(.exclusion, Array("\(exclusions.count - PointRecord.maximumExclusions + 1) more".utf8)) }
        guard writer.bytes.count <= SealedPoint.maximumRecordLength else {
            throw HoldfastError(.usage, "The protected paths are too long together for one point.")
        }
        return writer.bytes
    }

    /// The UTF-8 bytes, cut between characters at `limit`.
    private static func cut(_ text: String, _ limit: Int) -> [UInt8] {
        if text.utf8.count <= limit { return Array(text.utf8) }
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            let encoded = Array(String(scalar).utf8)
            if bytes.count + encoded.count > limit { break }
            bytes.append(contentsOf: encoded)
        }
        return bytes
    }

    /// Reads a record. Unknown tags are skipped, so that a newer version may say more.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws -> PointRecord {
        guard bytes.count <= SealedPoint.maximumRecordLength else { throw ByteReader.malformed("record too long") }
        var reader = ByteReader(bytes)
        var record = PointRecord(root: ContentKey(.zero))
        var hasRoot = false
        var lastTag: UInt64 = 0
        while !reader.isAtEnd {
            let tag = try reader.varint()
            guard tag >= lastTag, tag >= 1 else { throw ByteReader.malformed("order of a record's fields") }
            var value = ByteReader(try reader.slice(try reader.varint(atMost: reader.remaining)))
            let known = Tag(rawValue: tag)
            if tag == lastTag, let known, ![.delta, .label, .warning, .protectedPath, .exclusion].contains(known) {
                throw ByteReader.malformed("a field of a record that stands twice")
            }
            lastTag = tag
            guard let known else { continue }
            switch known {
            case .root:
                record.root = ContentKey(try value.digest())
                hasRoot = true
            case .delta:
                guard record.deltas.count < FormatLimits.deltas else { throw ByteReader.malformed("too many deltas") }
                record.deltas.append(ContentKey(try value.digest()))
            case .label:
                guard record.labels.count < maximumLabels else { throw ByteReader.malformed("too many labels") }
                record.labels.append(try value.restAsText(atMost: maximumTextLength))
            case .consistency:
                guard let consistency = Consistency(rawValue: try value.u8()) else {
                    throw ByteReader.malformed("consistency of a point")
                }
                record.consistency = consistency
            case .statistics:
                record.statistics = try PointStatistics(&value)
                continue
            case .warning:
                guard record.warnings.count < maximumWarnings else { throw ByteReader.malformed("too many warnings") }
                record.warnings.append(
                    PointWarning(
                        reason: PointWarning.Reason(rawValue: try value.u8()),
                        path: try value.counted(atMost: FormatLimits.keyLength),
                        text: try value.text(atMost: PointWarning.maximumTextLength)
                    )
                )
            case .furtherWarnings:
                record.furtherWarnings = UInt64(try value.varint(atMost: Int.max))
            case .protectedPath:
                guard record.protectedPaths.count < maximumProtectedPaths else {
                    throw ByteReader.malformed("too many protected paths")
                }
                guard value.remaining <= FormatLimits.keyLength else { throw ByteReader.malformed("path too long") }
                record.protectedPaths.append(try value.raw(value.remaining))
            case .host: record.host = try value.restAsText(atMost: maximumTextLength)
            case .program: record.program = try value.restAsText(atMost: maximumTextLength)
            case .exclusion:
                guard record.exclusions.count < maximumExclusions, value.remaining <= maximumTextLength else {
                    throw ByteReader.malformed("too many exclusions, or too long ones")
                }
                record.exclusions.append(try value.raw(value.remaining))
            }
            try value.end()
        }
        guard hasRoot else { throw ByteReader.malformed("a record without a root") }
        return record
    }
}

extension ByteReader {
    /// All that is left as UTF-8.
    fileprivate mutating func restAsText(atMost limit: Int) throws -> String {
        guard remaining <= limit, let text = String(validating: try raw(remaining), as: UTF8.self) else {
            throw ByteReader.malformed("text too long or not UTF-8")
        }
        return text
    }
}
