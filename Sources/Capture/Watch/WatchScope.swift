package import Model

/// What is protected and what of it is left out, for asking about single paths.
package struct WatchScope: Sendable {
    package let roots: [TreePath]
    /// Subtrees that are never watched: spool, vault, state and heartbeat.
    package let ignored: [TreePath]
    package let exclusions: ExclusionRules

    package init(roots: [TreePath], ignored: [TreePath] = [], exclusions: ExclusionRules = ExclusionRules()) {
        self.roots = roots
        self.ignored = ignored
        self.exclusions = exclusions
    }

    /// How a directory stands to what is protected.
    enum Standing: Hashable, Sendable {
        /// Nothing below it is protected.
        case outside
        /// Some names in it lead to protected paths.
        case above
        /// All in it is protected, as far as no rule leaves it out.
        case inside
    }

    /// The standing of a directory. Rules are asked for each directory on the way to it, as the walk would.
    func standing(of directory: TreePath) -> Standing {
        guard let root = roots.first(where: { $0.contains(directory) }) else {
            return roots.contains { directory.contains($0) } ? .above : .outside
        }
        if ignored.contains(where: { $0.contains(directory) }) { return .outside }
        if exclusions.isEmpty { return .inside }
        // The root itself is protected whatever the rules say.
        var end = root.bytes.count
        while end < directory.bytes.count {
            let start = end == 0 ? 0 : end + 1
            let rest = directory.bytes[start...]
            end = rest.firstIndex(of: UInt8(ascii: "/")) ?? directory.bytes.count
            if isExcluded(directory.bytes[..<end], nameOffset: start, isDirectory: true) { return .outside }
        }
        return .inside
    }

    /// Whether a name in a directory that is `inside` is protected.
    func includes(_ path: TreePath, nameOffset: Int, isDirectory: Bool) -> Bool {
        if ignored.contains(where: { $0.bytes == path.bytes }) { return false }
        if exclusions.isEmpty { return true }
        return !isExcluded(path.bytes[...], nameOffset: nameOffset, isDirectory: isDirectory)
    }

    /// The roots at a path or below it.
    func roots(below path: TreePath) -> [TreePath] { roots.filter { path.contains($0) } }

    /// Whether a path is protected, or lies above something that is.
    func concerns(_ path: TreePath) -> Bool {
        guard let parent = path.parent else { return !roots.isEmpty }
        if roots.contains(where: { path.contains($0) }) { return true }
        return standing(of: parent) == .inside
            && includes(path, nameOffset: parent.isRoot ? 0 : parent.bytes.count + 1, isDirectory: true)
    }

    private func isExcluded(_ path: ArraySlice<UInt8>, nameOffset: Int, isDirectory: Bool) -> Bool {
        path.withUnsafeBytes { exclusions.excludes($0, nameOffset: nameOffset, isDirectory: isDirectory) }
    }
}
