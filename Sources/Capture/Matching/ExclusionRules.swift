/// Decides for each path whether patterns exclude it, fast enough for millions of paths.
///
/// The last pattern that matches decides, as in `.gitignore`. Only the path itself is compared: whoever walks a tree
/// does not enter an excluded directory, so that nothing below it is asked for, and nothing below can be taken back.
///
/// Patterns are found through the end of what they match: those whose last component is literal in a hash table by that
/// name, those that begin with one star by their last byte, those that end with one by their first; only the remaining
/// few are tried for every path. Asking allocates nothing.
package struct ExclusionRules: Sendable {
    /// What the patterns say of a path.
    package enum Verdict: Hashable, Sendable {
        /// None of them matches.
        case undecided
        /// The pattern with this number excludes it.
        case excluded(by: Int)
        /// The pattern with this number takes it back.
        case included(by: Int)
    }

    /// The patterns, the ones that count more last.
    package let patterns: [ExclusionPattern]

    private var codes: [UInt16] = []
    private var sets: [UInt64] = []
    private var bytes: [UInt8] = []
    private var parts: [Part] = []
    private var rules: [Rule] = []

    // Lists of rules by what must be true of the name; each from the last rule to the first.
    private var table: [Bucket] = []
    private var chained: [Int32] = []
    private var byLastByte = [Range32](repeating: Range32(), count: 256)
    private var byFirstByte = [Range32](repeating: Range32(), count: 256)
    private var others = Range32()

    private struct Range32 {
        var start: Int32 = 0
        var end: Int32 = 0
    }

    /// A component of a pattern, or `**`.
    private struct Part {
        enum Kind: UInt8 { case literal, suffix, prefix, general, directories }
        var kind: Kind
        /// For `directories`, the least number.
        var minimum: UInt8 = 0
        /// Into `bytes`, or `codes` when it is general.
        var range = Range32()
        /// First of its sets.
        var sets: Int32 = 0
    }

    private struct Rule {
        var isNegated: Bool
        var isDirectoryOnly: Bool
        var isNameOnly: Bool
        var parts = Range32()
        /// Into `bytes`: the base with a slash at its end, empty for `/`.
        var base = Range32()
        /// Into `bytes`: what a path (after its base) must begin with, whole components with a slash at the end.
        var beginning = Range32()
    }

    private struct Bucket {
        var name = Range32()
        var list = Range32()
    }

    /// No rules: nothing is excluded.
    package init() { self.init([]) }

    /// Rules of these patterns; where several match a path, the last of them decides.
    package init(_ patterns: [ExclusionPattern]) {
        self.patterns = patterns
        var byName: [[UInt8]: [Int32]] = [:]
        var last: [UInt8: [Int32]] = [:]
        var first: [UInt8: [Int32]] = [:]
        var general: [Int32] = []
        for (number, pattern) in patterns.enumerated() {
            compile(pattern)
            guard let final = pattern.parts.last else { continue }
            let index = Int32(number)
            if case .glob(let glob) = final {
                let literal = glob.literalBytes
                switch glob.shape {
                case .literal: byName[literal, default: []].append(index)
                case .suffix: last[literal[literal.count - 1], default: []].append(index)
                case .prefix: first[literal[0], default: []].append(index)
                case .general: general.append(index)
                }
            } else {
                general.append(index)
            }
        }
        fill(byName)
        for (byte, list) in last { byLastByte[Int(byte)] = chain(list) }
        for (byte, list) in first { byFirstByte[Int(byte)] = chain(list) }
        others = chain(general)
    }

    /// These rules with further patterns that count more, such as those of a deeper directory.
    package func adding(_ further: [ExclusionPattern]) -> ExclusionRules { ExclusionRules(patterns + further) }

    /// Nothing can be excluded.
    package var isEmpty: Bool { rules.isEmpty }

    // MARK: - Asking

    /// Whether a path is excluded. `path` is relative to `/`, without slashes at its ends; its last component begins
    /// at `nameOffset`.
    @inline(__always)
    package func excludes(_ path: UnsafeRawBufferPointer, nameOffset: Int, isDirectory: Bool) -> Bool {
        if rules.isEmpty { return false }
        let best = decide(path, nameOffset, isDirectory)
        return best >= 0 && !rules[Int(best)].isNegated
    }

    /// As `excludes`, with the pattern that decided.
    package func verdict(_ path: [UInt8], isDirectory: Bool) -> Verdict {
        path.withUnsafeBytes { buffer in
            let slash = buffer.lastIndex(of: UInt8(ascii: "/"))
            let best = decide(buffer, slash.map { $0 + 1 } ?? 0, isDirectory)
            if best < 0 { return .undecided }
            return rules[Int(best)].isNegated ? .included(by: Int(best)) : .excluded(by: Int(best))
        }
    }

    /// The pattern that would leave a protected path out, or a directory above it, had it not been named; `nil` when none
    /// would. `root` is relative to `/`.
    package func pattern(matchingRoot root: [UInt8]) -> ExclusionPattern? {
        var end = root.count
        while end > 0 {
            let path = Array(root[..<end])
            if case .excluded(let number) = verdict(path, isDirectory: true) {
                // A name anywhere is not meant for the directories above.
                if end == root.count || !patterns[number].isNameOnly { return patterns[number] }
            }
            end = root[..<end].lastIndex(of: UInt8(ascii: "/")) ?? 0
        }
        return nil
    }

    /// The number of the last rule that matches, or -1.
    private func decide(_ path: UnsafeRawBufferPointer, _ nameOffset: Int, _ isDirectory: Bool) -> Int32 {
        let name = UnsafeRawBufferPointer(rebasing: path[nameOffset...])
        if name.isEmpty { return -1 }
        var best: Int32 = -1
        if !table.isEmpty {
            var slot = Int(truncatingIfNeeded: Self.hash(name)) & (table.count - 1)
            while true {
                let bucket = table[slot]
                if bucket.name.end == bucket.name.start { break }
                if equals(bucket.name, name) {
                    search(bucket.list, path, name, isDirectory, isLiteral: true, &best)
                    break
                }
                slot = (slot + 1) & (table.count - 1)
            }
        }
        search(byLastByte[Int(name[name.count - 1])], path, name, isDirectory, isLiteral: false, &best)
        search(byFirstByte[Int(name[0])], path, name, isDirectory, isLiteral: false, &best)
        search(others, path, name, isDirectory, isLiteral: false, &best)
        return best
    }

    /// Looks through a list, from its last rule, for one that counts more than `best`.
    @inline(__always)
    private func search(
        _ list: Range32,
        _ path: UnsafeRawBufferPointer,
        _ name: UnsafeRawBufferPointer,
        _ isDirectory: Bool,
        isLiteral: Bool,
        _ best: inout Int32
    ) {
        var position = list.start
        while position < list.end {
            let index = chained[Int(position)]
            if index <= best { return }
            if matches(rules[Int(index)], path, name, isDirectory, isLiteral) {
                best = index
                return
            }
            position += 1
        }
    }

    @inline(__always)
    private func matches(
        _ rule: Rule,
        _ path: UnsafeRawBufferPointer,
        _ name: UnsafeRawBufferPointer,
        _ isDirectory: Bool,
        _ isLiteral: Bool
    ) -> Bool {
        if rule.isDirectoryOnly && !isDirectory { return false }
        var rest = path
        if rule.base.end != rule.base.start {
            guard begins(path, rule.base) else { return false }
            rest = UnsafeRawBufferPointer(rebasing: path[Int(rule.base.end - rule.base.start)...])
            if rest.isEmpty { return false }
        }
        if rule.isNameOnly { return isLiteral || matches(parts[Int(rule.parts.start)], name) }
        if rule.beginning.end != rule.beginning.start && !begins(rest, rule.beginning) { return false }
        return matchesPath(rule, rest)
    }

    /// Compares whole paths. Each `**` takes as little as it can; when what follows does not fit, the last one takes one
    /// directory more. Earlier ones need not be tried again: the last can take whatever they would have.
    private func matchesPath(_ rule: Rule, _ path: UnsafeRawBufferPointer) -> Bool {
        let end = Int(rule.parts.end)
        var part = Int(rule.parts.start)
        // Start of the component to compare next; beyond the end when all are used.
        var here = 0
        var retryPart = -1
        var retryHere = 0
        while true {
            var fits = true
            if part < end {
                let current = parts[part]
                let stop = endOfComponent(path, here)
                if current.kind == .directories {
                    if current.minimum == 0 || here <= path.count {
                        if current.minimum > 0 { here = stop + 1 }
                        part += 1
                        if part == end { return true }
                        retryPart = part
                        retryHere = here
                        continue
                    }
                    fits = false
                } else if here <= path.count {
                    fits = matches(current, UnsafeRawBufferPointer(rebasing: path[here..<stop]))
                    if fits {
                        part += 1
                        here = stop + 1
                        continue
                    }
                } else {
                    fits = false
                }
            } else if here > path.count {
                return true
            } else {
                fits = false
            }
            if retryPart < 0 || retryHere > path.count { return false }
            retryHere = endOfComponent(path, retryHere) + 1
            here = retryHere
            part = retryPart
        }
    }

    @inline(__always)
    private func endOfComponent(_ path: UnsafeRawBufferPointer, _ start: Int) -> Int {
        var position = start
        while position < path.count && path[position] != UInt8(ascii: "/") { position += 1 }
        return position
    }

    /// Compares one component.
    @inline(__always)
    private func matches(_ part: Part, _ text: UnsafeRawBufferPointer) -> Bool {
        let length = Int(part.range.end - part.range.start)
        switch part.kind {
        case .literal:
            return text.count == length && equals(part.range, text)
        case .suffix:
            return text.count >= length
                && equals(part.range, UnsafeRawBufferPointer(rebasing: text[(text.count - length)...]))
        case .prefix:
            return text.count >= length && equals(part.range, UnsafeRawBufferPointer(rebasing: text[..<length]))
        case .general:
            return runs(part, text)
        case .directories:
            return false
        }
    }

    /// Runs a program; on a mismatch the last star takes one byte more.
    private func runs(_ part: Part, _ text: UnsafeRawBufferPointer) -> Bool {
        var code = Int(part.range.start)
        let end = Int(part.range.end)
        var position = 0
        var retryCode = -1
        var retryPosition = 0
        while true {
            if code < end && codes[code] == Glob.star {
                code += 1
                if code == end { return true }
                retryCode = code
                retryPosition = position
                continue
            }
            if code == end && position == text.count { return true }
            if code < end && position < text.count {
                let wanted = codes[code]
                let byte = text[position]
                let fits: Bool
                if wanted < 256 {
                    fits = UInt16(byte) == wanted
                } else if wanted == Glob.any {
                    fits = true
                } else {
                    let set = Int(part.sets) + Int(wanted - Glob.set)
                    fits = sets[4 * set + Int(byte >> 6)] >> UInt64(byte & 63) & 1 == 1
                }
                if fits {
                    code += 1
                    position += 1
                    continue
                }
            }
            if retryCode < 0 || retryPosition >= text.count { return false }
            retryPosition += 1
            position = retryPosition
            code = retryCode
        }
    }

    @inline(__always)
    private func equals(_ range: Range32, _ text: UnsafeRawBufferPointer) -> Bool {
        let length = Int(range.end - range.start)
        if text.count != length { return false }
        let start = Int(range.start)
        // From the end: names that differ tend to differ there.
        var index = length - 1
        while index >= 0 {
            if bytes[start + index] != text[index] { return false }
            index -= 1
        }
        return true
    }

    @inline(__always)
    private func begins(_ text: UnsafeRawBufferPointer, _ range: Range32) -> Bool {
        let length = Int(range.end - range.start)
        return text.count >= length && equals(range, UnsafeRawBufferPointer(rebasing: text[..<length]))
    }

    private static func hash(_ name: UnsafeRawBufferPointer) -> UInt64 {
        var value = UInt64(truncatingIfNeeded: name.count) &* 0x9E37_79B9_7F4A_7C15
        if name.count >= 8 {
            value ^= name.loadUnaligned(as: UInt64.self)
            value = (value ^ value >> 29) &* 0xBF58_476D_1CE4_E5B9
            value ^= name.loadUnaligned(fromByteOffset: name.count - 8, as: UInt64.self)
        } else {
            var word: UInt64 = 0
            for byte in name { word = word << 8 | UInt64(byte) }
            value ^= word
        }
        value = (value ^ value >> 30) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }

    // MARK: - Compiling

    private mutating func store(_ new: [UInt8]) -> Range32 {
        let start = Int32(bytes.count)
        bytes += new
        return Range32(start: start, end: Int32(bytes.count))
    }

    private mutating func compile(_ pattern: ExclusionPattern) {
        var rule = Rule(
            isNegated: pattern.isNegated, isDirectoryOnly: pattern.isDirectoryOnly, isNameOnly: pattern.isNameOnly)
        if !pattern.base.isEmpty { rule.base = store(pattern.base + [UInt8(ascii: "/")]) }
        var beginning: [UInt8] = []
        for part in pattern.parts.dropLast() {
            guard case .glob(let glob) = part, glob.shape == .literal else { break }
            beginning += glob.literalBytes + [UInt8(ascii: "/")]
        }
        if !beginning.isEmpty { rule.beginning = store(beginning) }
        rule.parts.start = Int32(parts.count)
        for part in pattern.parts {
            switch part {
            case .anyDirectories(let minimum):
                parts.append(Part(kind: .directories, minimum: UInt8(minimum)))
            case .glob(let glob):
                switch glob.shape {
                case .literal: parts.append(Part(kind: .literal, range: store(glob.literalBytes)))
                case .suffix: parts.append(Part(kind: .suffix, range: store(glob.literalBytes)))
                case .prefix: parts.append(Part(kind: .prefix, range: store(glob.literalBytes)))
                case .general:
                    let start = Int32(codes.count)
                    codes += glob.codes
                    let range = Range32(start: start, end: Int32(codes.count))
                    parts.append(Part(kind: .general, range: range, sets: Int32(sets.count / 4)))
                    sets += glob.sets
                }
            }
        }
        rule.parts.end = Int32(parts.count)
        rules.append(rule)
    }

    /// A list of rules from the last to the first.
    private mutating func chain(_ list: [Int32]) -> Range32 {
        let start = Int32(chained.count)
        chained += list.reversed()
        return Range32(start: start, end: Int32(chained.count))
    }

    private mutating func fill(_ byName: [[UInt8]: [Int32]]) {
        // A component without bytes (from "a//b") matches nothing and would look like an empty slot.
        let names = byName.filter { !$0.key.isEmpty }
        if names.isEmpty { return }
        var size = 16
        while size < names.count * 3 { size *= 2 }
        table = [Bucket](repeating: Bucket(), count: size)
        for (name, list) in names {
            var slot = name.withUnsafeBytes { Int(truncatingIfNeeded: Self.hash($0)) & (size - 1) }
            while table[slot].name.end != table[slot].name.start { slot = (slot + 1) & (size - 1) }
            table[slot] = Bucket(name: store(name), list: chain(list))
        }
    }
}
