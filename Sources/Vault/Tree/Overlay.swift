import Model

/// What a row of deltas says together about the tree below: for each path the newest word that counts, and the subtrees
/// of the base that are hidden.
final class Overlay {
    /// The newest word about one path.
    struct Outcome {
        var block: Int
        var item: Int
        var isPut: Bool
        fileprivate var keyStart: Int
        fileprivate var keyLength: Int
    }

    /// Sorted by key, each key once.
    private(set) var outcomes: [Outcome] = []
    /// Prefixes of the base's keys that are hidden: sorted, none begins another. One empty prefix hides everything
    /// but the root's own entry.
    private(set) var hidden: [[UInt8]] = []

    private let blocks: [ItemBlock]
    private var keyBytes: [UInt8] = []

    var isEmpty: Bool { outcomes.isEmpty && hidden.isEmpty }

    /// `blocks` are decoded deltas, oldest first.
    init(_ blocks: [ItemBlock]) {
        self.blocks = blocks
        // For each emptied prefix the newest delta that empties it.
        var emptied: [[UInt8]: Int] = [:]
        var candidates: [Outcome] = []
        for (number, block) in blocks.enumerated() {
            var key: [UInt8] = []
            for item in 0..<block.count {
                key.removeLast(key.count - block.shared(item))
                key.append(contentsOf: block.rest(item))
                let code = block.code(item)
                if code == DeltaCode.deleteBelow.rawValue {
                    emptied[Overlay.subtreePrefix(ofKey: key)] = number
                } else {
                    candidates.append(
                        Outcome(
                            block: number, item: item, isPut: code == DeltaCode.put.rawValue,
                            keyStart: keyBytes.count, keyLength: key.count))
                    keyBytes.append(contentsOf: key)
                }
            }
        }
        keyBytes.withUnsafeBytes { bytes in
            func key(_ outcome: Outcome) -> UnsafeRawBufferPointer {
                UnsafeRawBufferPointer(rebasing: bytes[outcome.keyStart..<(outcome.keyStart + outcome.keyLength)])
            }
            // By key; of one key the newest delta first, and in it a put before a delete, because puts come last.
            candidates.sort { a, b in
                let order = ByteOrder.compare(key(a), key(b))
                if order != 0 { return order < 0 }
                if a.block != b.block { return a.block > b.block }
                return a.isPut && !b.isPut
            }
            var previous: Outcome?
            for candidate in candidates {
                if let previous, ByteOrder.compare(key(previous), key(candidate)) == 0 { continue }
                previous = candidate
                // A newer delta emptied a directory above: this word no longer counts, and the base is hidden anyway.
                if let newest = Overlay.newest(emptied, above: key(candidate)), newest > candidate.block { continue }
                outcomes.append(candidate)
            }
        }
        for prefix in emptied.keys.sorted(by: ByteOrder.isLess) {
            if let last = hidden.last, prefix.starts(with: last) { continue }
            hidden.append(prefix)
        }
    }

    /// The newest delta that empties a directory above `key`.
    private static func newest(_ emptied: [[UInt8]: Int], above key: UnsafeRawBufferPointer) -> Int? {
        if emptied.isEmpty || key.isEmpty { return nil }
        var newest = emptied[[]]
        for end in 1..<key.count where key[end - 1] == 0 {
            if let number = emptied[Array(key[..<end])] { newest = max(newest ?? number, number) }
        }
        return newest
    }

    /// `TreePath.subtreePrefix` of the path with this key: the double zero closes up and one stands at the end.
    static func subtreePrefix(ofKey key: [UInt8]) -> [UInt8] {
        guard let zero = key.lastIndex(of: 0) else { return [] }
        var prefix = Array(key[..<zero])
        prefix.append(contentsOf: key[(zero + 1)...])
        prefix.append(0)
        return prefix
    }

    // MARK: Questions

    func key(_ index: Int) -> [UInt8] {
        let outcome = outcomes[index]
        return Array(keyBytes[outcome.keyStart..<(outcome.keyStart + outcome.keyLength)])
    }

    func compare(_ index: Int, _ other: [UInt8]) -> Int {
        let outcome = outcomes[index]
        return keyBytes.withUnsafeBytes { bytes in
            other.withUnsafeBytes {
                ByteOrder.compare(
                    UnsafeRawBufferPointer(rebasing: bytes[outcome.keyStart..<(outcome.keyStart + outcome.keyLength)]),
                    $0)
            }
        }
    }

    func block(_ index: Int) -> ItemBlock { blocks[outcomes[index].block] }

    /// The first outcome whose key is not below `key`.
    func lowerBound(_ key: [UInt8]) -> Int {
        var low = 0
        var high = outcomes.count
        while low < high {
            let middle = (low + high) / 2
            if compare(middle, key) < 0 { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Whether the base's entry at `key` is hidden because a directory above was emptied.
    func hides(_ key: [UInt8]) -> Bool { !key.isEmpty && hiddenPrefix(of: key) != nil }

    /// Whether anything is said about keys from `low` to before `high`; `nil` is the end.
    func touches(_ low: [UInt8], _ high: [UInt8]?) -> Bool {
        let outcome = lowerBound(low)
        if outcome < outcomes.count {
            guard let high else { return true }
            if compare(outcome, high) < 0 { return true }
        }
        if hidden.isEmpty { return false }
        if hiddenPrefix(of: low) != nil { return true }
        let next = firstHidden(above: low)
        guard next < hidden.count else { return false }
        guard let high else { return true }
        return ByteOrder.compare(hidden[next], high) < 0
    }

    /// Whether every key from `low` to before `high` is hidden; may say no where only the bytes between would tell.
    func hidesAll(_ low: [UInt8], _ high: [UInt8]?) -> Bool {
        guard !low.isEmpty, let prefix = hiddenPrefix(of: low) else { return false }
        if prefix.isEmpty { return true }
        guard let high else { return false }
        return high.starts(with: prefix)
    }

    private func hiddenPrefix(of key: [UInt8]) -> [UInt8]? {
        let next = firstHidden(above: key)
        guard next > 0, key.starts(with: hidden[next - 1]) else { return nil }
        return hidden[next - 1]
    }

    /// The first hidden prefix that is above `key`.
    private func firstHidden(above key: [UInt8]) -> Int {
        var low = 0
        var high = hidden.count
        while low < high {
            let middle = (low + high) / 2
            if ByteOrder.compare(hidden[middle], key) <= 0 { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
