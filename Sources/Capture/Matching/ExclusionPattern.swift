/// One line of an exclusion list, with the meaning it has in a `.gitignore` file.
///
/// * Without a slash, or with one only at the end, a pattern is compared with names at any depth below `base`.
/// * With a slash at the beginning or in the middle it is compared with whole paths relative to `base`.
/// * A slash at the end limits it to directories; `!` at the beginning takes back what an earlier pattern excluded.
/// * `**` between slashes stands for any number of directories.
package struct ExclusionPattern: Hashable, Sendable {
    /// The pattern as it was written, for messages.
    package let text: [UInt8]
    /// The directory that the pattern is relative to and limited to, relative to `/`, without slashes at its ends;
    /// empty for `/` itself.
    package let base: [UInt8]
    /// It takes back instead of excluding.
    package let isNegated: Bool
    /// It is for directories only.
    package let isDirectoryOnly: Bool
    /// Why it matches nothing, when that is so: worth a warning to whoever wrote it.
    package let problem: PatternProblem?

    /// Compared with the name alone.
    let isNameOnly: Bool
    /// Empty when there is a problem.
    let parts: [GlobParser.Part]

    /// One pattern, as in a line of `.gitignore` after comments and trailing spaces have been dealt with.
    package init(_ pattern: [UInt8], base: [UInt8] = []) {
        text = pattern
        self.base = Array(base.trimmingSlashes())
        var rest = pattern[...]
        isNegated = rest.first == UInt8(ascii: "!")
        if isNegated { rest = rest.dropFirst() }
        isDirectoryOnly = rest.last == UInt8(ascii: "/")
        if isDirectoryOnly { rest = rest.dropLast() }
        isNameOnly = !rest.contains(UInt8(ascii: "/"))
        if rest.first == UInt8(ascii: "/") { rest = rest.dropFirst() }
        if rest.isEmpty {
            parts = []
            problem = .empty
            return
        }
        var parser = GlobParser(Array(rest))
        do {
            var parts = try parser.parts()
            // In a name, two stars say no more than one.
            if isNameOnly, case .anyDirectories = parts.first { parts = [.glob(Glob(codes: [Glob.star]))] }
            self.parts = parts
            problem = nil
        } catch {
            parts = []
            problem = error.problem
        }
    }

    /// A pattern from a command line, for paths below `roots` (relative to `/`).
    ///
    /// One that begins with a slash is a path from `/` on, as people type it; one with a slash further in is relative to
    /// each root; one without is a name anywhere.
    package static func commandLine(_ pattern: [UInt8], roots: [[UInt8]]) -> [ExclusionPattern] {
        let plain = ExclusionPattern(pattern)
        let body = plain.isNegated ? pattern.dropFirst() : pattern[...]
        if plain.isNameOnly || body.first == UInt8(ascii: "/") || roots.isEmpty { return [plain] }
        return roots.map { ExclusionPattern(pattern, base: $0) }
    }

    /// The patterns of a file given for `roots` (relative to `/`): a `.gitignore` that stands in each of them.
    ///
    /// A line that begins with a slash is relative to each root, too, unless it names one of them, something below or
    /// something above: then it is the absolute path that it looks like.
    package static func exclusionFile(_ content: [UInt8], roots: [[UInt8]]) -> [ExclusionPattern] {
        parse(file: content).flatMap { pattern -> [ExclusionPattern] in
            if pattern.isNameOnly || roots.isEmpty || roots.contains(where: { pattern.leads(to: $0) }) {
                return [pattern]
            }
            return roots.map { ExclusionPattern(pattern.text, base: $0) }
        }
    }

    /// Whether a pattern that begins with a slash spells out an absolute path at, below or above `root`, as far as it has
    /// no wildcards.
    private func leads(to root: [UInt8]) -> Bool {
        let slash = UInt8(ascii: "/")
        let body = isNegated ? text.dropFirst() : text[...]
        guard body.first == slash, !root.isEmpty else { return false }
        let literal = body.split(separator: slash).prefix { component in
            !component.contains { Array("*?[\\".utf8).contains($0) }
        }
        if literal.isEmpty { return false }
        return zip(literal, root.split(separator: slash)).allSatisfy { $0.elementsEqual($1) }
    }

    /// The patterns of a file's content: one a line, `#` begins a comment, spaces at the end count only after a
    /// backslash, line ends may be those of Windows, and a byte order mark is left out.
    package static func parse(file content: [UInt8], base: [UInt8] = []) -> [ExclusionPattern] {
        var rest = content[...]
        if rest.starts(with: [0xEF, 0xBB, 0xBF]) { rest = rest.dropFirst(3) }
        return rest.split(separator: 0x0A, omittingEmptySubsequences: true).compactMap { line in
            var line = line
            if line.first == UInt8(ascii: "#") { return nil }
            if line.last == 0x0D { line = line.dropLast() }
            line = trimmingSpaces(line)
            // A zero byte ends the line, as it does for git: no name can hold one.
            if let zero = line.firstIndex(of: 0) { line = line[..<zero] }
            return line.isEmpty ? nil : ExclusionPattern(Array(line), base: base)
        }
    }

    /// Without the spaces at its end that no backslash protects.
    private static func trimmingSpaces(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var firstSpace: Int?
        var position = line.startIndex
        while position < line.endIndex {
            switch line[position] {
            case 0x20:
                if firstSpace == nil { firstSpace = position }
            case UInt8(ascii: "\\"):
                position += 1
                if position >= line.endIndex { return line }
                firstSpace = nil
            default:
                firstSpace = nil
            }
            position += 1
        }
        return firstSpace.map { line[..<$0] } ?? line
    }
}

extension [UInt8] {
    /// Without slashes at both ends.
    func trimmingSlashes() -> ArraySlice<UInt8> {
        let slash = UInt8(ascii: "/")
        guard let first = firstIndex(where: { $0 != slash }), let last = lastIndex(where: { $0 != slash }) else {
            return []
        }
        return self[first...last]
    }
}
