package import Model

/// Changes over a tree, kept as one blob. The state at a point is a root and up to `FormatLimits.deltas` of these.
///
/// Within a delta every `deleteBelow` takes effect first, then every `delete`, then every `put`: their order in the
/// array means nothing.
package struct Delta: Hashable, Sendable {
    package enum Change: Hashable, Sendable {
        /// The path is there with this entry.
        case put(Entry)
        /// The path is not there. Says nothing about what is below it.
        case delete
        /// Nothing is below the path. Says nothing about the path itself.
        case deleteBelow

        var code: DeltaCode {
            switch self {
            case .put: .put
            case .delete: .delete
            case .deleteBelow: .deleteBelow
            }
        }
    }

    package struct Operation: Hashable, Sendable {
        /// The key of the path, `TreePath.key`.
        package var key: [UInt8]
        package var change: Change

        package init(key: [UInt8], change: Change) {
            self.key = key
            self.change = change
        }
    }

    /// A delta as a blob's plaintext, and the content keys that it names.
    package struct Encoded: Hashable, Sendable {
        package var plain: [UInt8]
        package var children: [ContentKey]
    }

    /// Sorted by key, then code.
    package let operations: [Operation]

    /// Takes operations in any order. The same operation on the same key twice is a fault of the caller.
    package init(_ operations: [Operation]) throws {
        self.operations = operations.sorted { a, b in
            let order = ByteOrder.compare(a.key, b.key)
            return order != 0 ? order < 0 : a.change.code.rawValue < b.change.code.rawValue
        }
        for (a, b) in zip(self.operations, self.operations.dropFirst())
        where a.key == b.key && a.change.code == b.change.code {
            throw HoldfastError(.internalError, "an operation stands twice in a delta (a fault of this program)")
        }
    }

    package var isEmpty: Bool { operations.isEmpty }

    /// The encoding, or `nil` when it would be longer than a blob may be: fold instead.
    package func encoded() throws -> Encoded? {
        let encoder = ItemEncoder(capacity: 64 << 10)
        var keysLength = 0
        for operation in operations {
            guard TreePath(key: operation.key) != nil, operation.key.count <= FormatLimits.keyLength else {
                throw HoldfastError(.internalError, "an operation on a key of no path (a fault of this program)")
            }
            keysLength += operation.key.count
            if case .put(let entry) = operation.change {
                try encoder.append(code: operation.change.code.rawValue, key: operation.key, entry: entry)
            } else {
                try encoder.append(code: operation.change.code.rawValue, key: operation.key, entry: nil)
            }
            // Header and counts take less than 64 bytes.
            if encoder.codedLength > FormatLimits.blobPlainLength - 64 || keysLength > TreeLimits.deltaKeysLength {
                return nil
            }
        }
        return Encoded(plain: encoder.finish(header: [1]), children: encoder.keys)
    }

    /// Gives the encoding to `sink` and returns its content key, or `nil` when the delta does not fit into a blob.
    package func store(in sink: any NodeSink) throws -> ContentKey? {
        guard let encoded = try encoded() else { return nil }
        return try sink.put(type: .delta, plain: encoded.plain, children: encoded.children)
    }

    /// Reads what `encoded` made; the bytes may be hostile.
    package static func decode(_ plain: [UInt8]) throws -> Delta {
        let block = try ItemBlock.delta(plain)
        var operations: [Operation] = []
        operations.reserveCapacity(block.count)
        var key: [UInt8] = []
        for index in 0..<block.count {
            key.removeLast(key.count - block.shared(index))
            key.append(contentsOf: block.rest(index))
            let change: Change
            switch block.code(index) {
            case DeltaCode.put.rawValue: change = .put(try block.entry(index))
            case DeltaCode.delete.rawValue: change = .delete
            default: change = .deleteBelow
            }
            operations.append(Operation(key: key, change: change))
        }
        return try Delta(operations)
    }
}

/// Gathers changes in the order in which they happen and gives the delta that has the same effect.
package struct DeltaCollector: Sendable {
    private enum Outcome {
        case put(Entry)
        case deleted
    }

    private var outcomes: [[UInt8]: Outcome] = [:]
    private var emptied: Set<[UInt8]> = []

    package init() {}

    /// How many operations the delta will have.
    package var count: Int { outcomes.count + emptied.count }
    package var isEmpty: Bool { outcomes.isEmpty && emptied.isEmpty }

    /// The path is there with this entry.
    package mutating func put(_ path: TreePath, _ entry: Entry) { outcomes[path.key] = .put(entry) }

    /// The path is gone; what is below it stays. For a directory that is gone use `deleteTree`.
    package mutating func delete(_ path: TreePath) { outcomes[path.key] = .deleted }

    /// Everything below the path is gone; the path itself stays. Costs a pass over what was gathered.
    package mutating func deleteBelow(_ path: TreePath) {
        let prefix = path.subtreePrefix
        let isBelow = { (key: [UInt8]) in !key.isEmpty && key.starts(with: prefix) }
        outcomes = outcomes.filter { !isBelow($0.key) }
        emptied = emptied.filter { !isBelow($0) }
        emptied.insert(path.key)
    }

    /// The path and everything below it are gone.
    package mutating func deleteTree(_ path: TreePath) {
        deleteBelow(path)
        delete(path)
    }

    /// The delta.
    package func delta() throws -> Delta {
        var operations: [Delta.Operation] = []
        operations.reserveCapacity(count)
        for (key, outcome) in outcomes {
            switch outcome {
            case .put(let entry): operations.append(Delta.Operation(key: key, change: .put(entry)))
            case .deleted: operations.append(Delta.Operation(key: key, change: .delete))
            }
        }
        for key in emptied { operations.append(Delta.Operation(key: key, change: .deleteBelow)) }
        return try Delta(operations)
    }
}
