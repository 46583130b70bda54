package import Model

/// One thing that is wrong in a file, where, and what to write instead.
package struct PolicyProblem: Error, Hashable, Sendable, CustomStringConvertible {
    package var position: SourcePosition
    package var message: String
    /// A sentence, or `nil` where the message says it.
    package var instead: String?
    /// It is well written, and this version cannot do it.
    package var isUnsupported: Bool

    package init(
        _ position: SourcePosition, _ message: String, instead: String? = nil, isUnsupported: Bool = false
    ) {
        self.position = position
        self.message = message
        self.instead = instead
        self.isUnsupported = isUnsupported
    }

    /// `line 3, column 5: ...`
    package var description: String { "line \(position.line), column \(position.column): \(sentence)" }

    /// Message and advice.
    package var sentence: String { instead.map { "\(message) \($0)" } ?? message }

    /// `laptops.yaml:3:5: ...`, as compilers write it.
    package func located(in file: String) -> String { "\(file):\(position.line):\(position.column): \(sentence)" }

    /// All problems of a file as the error that commands and the server show: one line each, in the order of the file.
    package static func error(_ problems: [PolicyProblem], in file: String) -> HoldfastError {
        let lines = problems.map { $0.located(in: file) }.joined(separator: "\n")
        let isUnsupported = !problems.isEmpty && problems.allSatisfy(\.isUnsupported)
        return HoldfastError(isUnsupported ? .unsupported : .usage, lines, context: ["file": file])
    }
}

/// A file read: its value, when nothing is wrong, and everything that is.
package struct Checked<Value: Sendable>: Sendable {
    /// `nil` when there is a problem.
    package var value: Value?
    /// In the order of the file; at most `NodeReader.problemLimit`.
    package var problems: [PolicyProblem]

    /// The value, or all problems as one error.
    package func get(from file: String) throws -> Value {
        guard let value, problems.isEmpty else { throw PolicyProblem.error(problems, in: file) }
        return value
    }
}

/// Why a text is not what it should be.
struct TextProblem: Error {
    /// What is wrong, a sentence.
    var message: String
    /// What to write, a sentence.
    var instead: String
}

/// Somebody's text in quotes: short, and without characters that a terminal would obey.
func shown(_ text: String) -> String {
    let short =
        text.unicodeScalars.count > 60 ? String(String.UnicodeScalarView(text.unicodeScalars.prefix(57))) + "..." : text
    return "\"\(TreePath.display(short.utf8))\""
}

/// Finds the word that somebody meant.
enum Suggestion {
    /// The candidate nearest to `word`, when it is near; words of other tools are known by `synonyms`.
    static func nearest(to word: String, among candidates: [String], synonyms: [String: String] = [:]) -> String? {
        let lowered = Array(word.lowercased().utf8.prefix(64))
        if let meant = synonyms[String(decoding: lowered, as: UTF8.self)], candidates.contains(meant) { return meant }
        // "temp" for "temporary": nearer than any letters changed.
        if lowered.count >= 3, let longer = candidates.first(where: { $0.lowercased().utf8.starts(with: lowered) }) {
            return longer
        }
        var best: (word: String, distance: Int)?
        for candidate in candidates {
            let distance = distance(lowered, Array(candidate.lowercased().utf8))
            if distance <= max(1, candidate.utf8.count / 3), distance < best?.distance ?? .max {
                best = (candidate, distance)
            }
        }
        return best?.word
    }

    /// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
    private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var rows = [Array(0...b.count)]
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                var cost = min(row[j] + 1, rows[i][j + 1] + 1, rows[i][j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, rows[i - 1][j - 1] + 1) }
                row.append(cost)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
