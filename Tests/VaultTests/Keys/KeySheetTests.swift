import Model
import TestSupport
import Testing

@testable import Vault

@Suite struct KeySheetTests {
    @Test("The list is BIP-39's: 2,048 sorted words with four letters that tell them apart")
    func list() {
        let words = KeySheetWords.all
        #expect(words.count == 2048)
        #expect(words == words.sorted())
        #expect(Set(words.map { $0.prefix(4) }).count == 2048)
        // The SHA-256 of english.txt as published.
        let text = Array((words.joined(separator: "\n") + "\n").utf8)
        #expect(
            Hex.encode(KeyCrypto.sha256(text).array)
                == "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda")
    }

    @Test("A sheet is read back from its words, however a person types them")
    func roundTrip() throws {
        for _ in 0..<50 {
            let sheet = KeySheet.random()
            let words = sheet.words
            #expect(words.count == 16)
            let variants = [
                words.joined(separator: " "), words.joined(separator: "\n") + "\n", words.joined(separator: ", "),
                words.map { $0.uppercased() }.joined(separator: "\t"),
                words.map { String($0.prefix(4)) }.joined(separator: " "),
                words.enumerated().map { "\($0.offset + 1). \($0.element)" }.joined(separator: "\n"),
            ]
            for text in variants { #expect(try KeySheet(text: text).secret == sheet.secret) }
        }
    }

    @Test("Two sheets differ")
    func random() { #expect(KeySheet.random().secret != KeySheet.random().secret) }

    @Test("A word that is not in the list is named by its position, with the nearest words")
    func unknownWord() throws {
        var words = KeysFixture.sheet.words
        words[4] = "abandn"
        let error = try #require(throws: HoldfastError.self) { try KeySheet(words: words) }
        #expect(error.code == .usage)
        #expect(error.message == "Word 5 is not a word of key sheets. Is it `abandon`?")
        #expect(error.context["position"] == "5")
        words[4] = "xxxxxxxxxxxx"
        let other = try #require(throws: HoldfastError.self) { try KeySheet(words: words) }
        #expect(other.message.contains("Look at the sheet again"))
        // Input without end is not measured against 2,048 words letter by letter.
        words[4] = String(repeating: "a", count: 1_000_000)
        #expect(throws: HoldfastError.self) { try KeySheet(words: words) }
    }

    @Test("Too few or too many words are refused with their count", arguments: [0, 1, 15, 17])
    func count(count: Int) throws {
        let words = (0..<count).map { KeysFixture.sheet.words[$0 % 16] }
        let error = try #require(throws: HoldfastError.self) { try KeySheet(words: words) }
        #expect(error.message.contains("16 words"))
        #expect(error.message.contains("\(count) were"))
    }

    @Test("Two words that changed places are pointed out, and the sheet is not repaired silently")
    func swapped() throws {
        var words = KeysFixture.sheet.words
        words.swapAt(2, 3)
        let error = try #require(throws: HoldfastError.self) { try KeySheet(words: words) }
        let positions = try #require(error.context["positions"]).split(separator: ", ").map { Int($0)! }
        #expect(positions.contains(3) && positions.contains(4))
        #expect(error.message.contains("checksum"))
    }

    @Test("One misread word is pointed out by its position and not by the right word")
    func misread() throws {
        // Words of the list that differ in one letter, as eyes confuse them.
        let pairs = [
            ("bag", "bar"), ("cat", "can"), ("ship", "shop"), ("wait", "want"), ("fog", "dog"), ("race", "rate"),
        ].prefix(3)
        var generator = FuzzGenerator(seed: 3)
        for (right, wrong) in pairs {
            let index = try #require(KeySheetWords.all.firstIndex(of: right))
            // A sheet whose eighth word is `right`: bits 77 to 87.
            var secret = generator.bytes(20)
            for bit in 0..<11 {
                let position = 77 + bit
                let mask = UInt8(0x80 >> (position % 8))
                secret[position / 8] =
                    index >> (10 - bit) & 1 == 1 ? secret[position / 8] | mask : secret[position / 8] & ~mask
            }
            var words = KeySheet(secret: secret)!.words
            #expect(words[7] == right)
            words[7] = wrong
            let error = try #require(throws: HoldfastError.self) { try KeySheet(words: words) }
            #expect(error.context["positions"]?.split(separator: ", ").contains("8") == true, "\(right) \(wrong)")
            #expect(!error.message.contains(right))
        }
    }

    @Test("Random words have a wrong checksum, but for one in 65,536")
    func checksum() {
        var generator = FuzzGenerator(seed: 11)
        var accepted = 0
        for _ in 0..<5 {
            let words = (0..<16).map { _ in KeySheetWords.all.randomElement(using: &generator)! }
            if (try? KeySheet(words: words)) != nil { accepted += 1 }
        }
        #expect(accepted == 0)
    }

    @Test("The distance counts changes, additions, losses and swaps")
    func distance() {
        func distance(_ a: String, _ b: String) -> Int { KeySheet.editDistance(Array(a.utf8), Array(b.utf8)) }
        #expect(distance("", "") == 0)
        #expect(distance("", "abc") == 3)
        #expect(distance("abc", "") == 3)
        #expect(distance("shop", "ship") == 1)
        #expect(distance("tow", "two") == 1)
        #expect(distance("abandon", "abandn") == 1)
        #expect(distance("kitten", "sitting") == 3)
    }
}
