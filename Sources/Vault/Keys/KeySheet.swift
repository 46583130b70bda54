import Model

/// The printed words that open a vault: 160 random bits and a checksum of 16, as 16 words.
package struct KeySheet: SecretValue {
    /// Words on a sheet.
    package static let wordCount = 16
    /// Random bytes that the words write.
    static let secretLength = 20
    private static let bitsPerWord = 11

    /// The 20 random bytes.
    let secret: [UInt8]

    /// A new sheet from the system's random source.
    package static func random() -> KeySheet { KeySheet(secret: KeyCrypto.random(secretLength))! }

    /// Takes exactly 20 bytes; `nil` for any other count.
    init?(secret: [UInt8]) {
        guard secret.count == KeySheet.secretLength else { return nil }
        self.secret = secret
    }

    /// The 16 words to print, in order.
    package var words: [String] {
        KeySheet.indices(of: secret + KeySheet.checksum(secret)).map { KeySheetWords.all[$0] }
    }

    /// Reads the words as a person types them: any case, any white space, commas or full stops between them, numbers of
    /// the lines left in; a word may be cut to its first four letters, which are unique.
    ///
    /// Throws `usage` with the position of a word that is not in the list and what may be meant, or, when every word is in
    /// the list and the checksum is wrong, with the positions worth looking at. Never guesses.
    package init(text: String) throws {
        let separators: (Character) -> Bool = { $0.isWhitespace || ",.;:-|/".contains($0) }
        try self.init(words: text.split(whereSeparator: separators).map(String.init).filter { Int($0) == nil })
    }

    /// The same for words that are already separated.
    package init(words: [String]) throws {
        var indices: [Int] = []
        for (offset, word) in words.enumerated() {
            guard let index = KeySheet.index(of: word) else {
                throw KeySheet.unknownWord(word, at: offset + 1)
            }
            indices.append(index)
        }
        guard indices.count == KeySheet.wordCount else {
            throw HoldfastError(
                .usage,
                "A key sheet has \(KeySheet.wordCount) words; \(indices.count) were given.",
                context: ["words": String(indices.count)]
            )
        }
        guard let secret = KeySheet.secret(from: indices) else {
            throw KeySheet.wrongChecksum(indices)
        }
        self.secret = secret
    }

    // MARK: Bits

    private static func checksum(_ secret: [UInt8]) -> [UInt8] {
        Array(KeyCrypto.sha256(Array(label: "holdfast/1/sheet"), secret).array[..<2])
    }

    /// Groups of eleven bits, most significant first.
    private static func indices(of bytes: [UInt8]) -> [Int] {
        (0..<wordCount).map { word in
            (0..<bitsPerWord).reduce(0) { value, bit in
                let position = word * bitsPerWord + bit
                return value << 1 | Int(bytes[position / 8] >> UInt8(7 - position % 8) & 1)
            }
        }
    }

    /// The 20 bytes when the checksum is right.
    private static func secret(from indices: [Int]) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: wordCount * bitsPerWord / 8)
        for (word, index) in indices.enumerated() {
            for bit in 0..<bitsPerWord where index >> (bitsPerWord - 1 - bit) & 1 == 1 {
                let position = word * bitsPerWord + bit
                bytes[position / 8] |= 0x80 >> UInt8(position % 8)
            }
        }
        let secret = Array(bytes[..<secretLength])
        return checksum(secret) == Array(bytes[secretLength...]) ? secret : nil
    }

    // MARK: Mistakes

    /// The index of a word, or of the only word that begins with its four letters.
    private static func index(of word: String) -> Int? {
        let word = word.lowercased()
        if let index = indexByWord[word] { return index }
        return word.utf8.count == 4 ? indexByStart[word] : nil
    }

    private static let indexByWord = Dictionary(
        uniqueKeysWithValues: KeySheetWords.all.enumerated().map { ($0.element, $0.offset) }
    )

    /// No two words share their first four letters.
    private static let indexByStart = Dictionary(
        uniqueKeysWithValues: KeySheetWords.all.enumerated().map { (String($0.element.prefix(4)), $0.offset) }
    )

    private static func unknownWord(_ word: String, at position: Int) -> HoldfastError {
        let typed = Array(word.lowercased().utf8.prefix(32))
        let distances = KeySheetWords.all.map { editDistance(typed, Array($0.utf8)) }
        let least = distances.min() ?? 0
        let nearest = zip(KeySheetWords.all, distances).filter { $0.1 == least }.map { "`\($0.0)`" }.prefix(3)
        let hint = least <= 3 ? " Is it \(nearest.joined(separator: " or "))?" : " Look at the sheet again."
        return HoldfastError(
            .usage,
            "Word \(position) is not a word of key sheets.\(hint)",
            context: ["position": String(position)]
        )
    }

    /// Says which words are worth looking at: two that are right when they change places, or one that a near word would put
    /// right. The right word itself is not said: with 16 bits of checksum it would often be a wrong guess.
    private static func wrongChecksum(_ indices: [Int]) -> HoldfastError {
        var changed = indices
        var positions: Set<Int> = []
        for first in 0..<wordCount {
            for second in (first + 1)..<wordCount where indices[first] != indices[second] {
                changed.swapAt(first, second)
                if secret(from: changed) != nil { positions.formUnion([first + 1, second + 1]) }
                changed.swapAt(first, second)
            }
        }
        for position in 0..<wordCount {
            let original = Array(KeySheetWords.all[indices[position]].utf8)
            for candidate in KeySheetWords.all.indices where candidate != indices[position] {
                changed[position] = candidate
                if secret(from: changed) != nil, editDistance(original, Array(KeySheetWords.all[candidate].utf8)) <= 2 {
                    positions.insert(position + 1)
                }
            }
            changed[position] = indices[position]
        }
        let list = positions.sorted().map(String.init).joined(separator: ", ")
        let hint =
            positions.isEmpty
            ? "Compare every word with the sheet, and their order."
            : "Look first at word\(positions.count == 1 ? "" : "s") \(list)."
        return HoldfastError(
            .usage,
            "Every word is a word of key sheets, but their checksum is wrong: a word is misread, or two changed places. "
                + hint,
            context: positions.isEmpty ? [:] : ["positions": list]
        )
    }

    /// How many letters must be changed, added, removed, or swapped with their neighbour (optimal string alignment).
    static func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var beforePrevious: [Int] = []
        var previous = Array(0...b.count)
        for i in 0..<a.count {
            var current = [i + 1]
            for j in 0..<b.count {
                var best = min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, beforePrevious[j - 1] + 1) }
                current.append(best)
            }
            beforePrevious = previous
            previous = current
        }
        return previous[b.count]
    }
}
