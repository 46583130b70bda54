import Model

/// Facts of one batch in the order of what happened; a file that changes again and again is told once.
struct FactBatch {
    private(set) var facts: [DirtyFact] = []
    /// Where the last fact about a file is, as long as nothing happened to names since.
    private var files: [TreePath: Int] = [:]

    var isEmpty: Bool { facts.isEmpty }
    var count: Int { facts.count }

    mutating func add(_ fact: DirtyFact) {
        switch fact {
        case .file(let path, let writer):
            if let index = files[path], case .file(_, let before) = facts[index] {
                // Metadata alone says nothing about who writes.
                if writer != .metadata || before == .metadata { facts[index] = fact }
                return
            }
            files[path] = facts.count
            facts.append(fact)
        case .entry(let directory, let name, _):
            if facts.last == fact { return }
            files[directory.appending(name)] = nil
            facts.append(fact)
        case .renamed:
            files.removeAll(keepingCapacity: true)
            facts.append(fact)
        case .subtree, .fileSystem:
            if facts.last == fact { return }
            facts.append(fact)
        }
    }

    /// Everything so far; the batch is empty afterwards.
    mutating func take() -> [DirtyFact] {
        defer {
            facts = []
            files.removeAll(keepingCapacity: true)
        }
        return facts
    }
}
