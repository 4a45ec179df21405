//! A strict interpreter of the pickles in a PyTorch checkpoint.
//!
//! A pickle is a program for a small stack machine, which in Python may call any function. This
//! interpreter implements only the instructions that a dictionary of tensors needs (opcodes of
//! protocol 2, named as in CPython's `pickletools`). It knows three Python names and calls nothing:
//! [`PickleGlobal`]. It refuses any other instruction and any other name.

use std::rc::Rc;

const MAX_PICKLE_BYTES: usize = 4 << 20;
const MAX_STACK_VALUES: usize = 1 << 16;
const MAX_MEMO_VALUES: usize = 1 << 16;
/// Values that contain values may be nested this deep.
const MAX_DEPTH: u8 = 8;
/// Axes of a tensor.
const MAX_AXES: usize = 8;
/// Longest integer of the instruction `LONG1`.
const MAX_INTEGER_BYTES: usize = 15;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum PickleValue {
    None,
    Bool(bool),
    Integer(i128),
    Text(Rc<str>),
    Global(PickleGlobal),
    Tuple(PickleSequence),
    List(PickleSequence),
    Dict(PickleDict),
    Storage(Rc<PickleStorage>),
    Tensor(Rc<PickleTensor>),
}

/// The Python names that a checkpoint may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PickleGlobal {
    /// `collections.OrderedDict`: without arguments, an empty dictionary.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`: a tensor over a storage.
    RebuildTensor,
    /// `torch.FloatStorage` and `torch.LongStorage`.
    Storage(NumberType),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberType {
    F32,
    I64,
}

impl NumberType {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::I64 => size_of::<i64>(),
        }
    }
}

/// A tuple or a list, which is complete when it is created or only ever appended to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PickleSequence {
    pub(super) items: Rc<Vec<PickleValue>>,
    depth: u8,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct PickleDict {
    pub(super) items: Rc<Vec<(PickleValue, PickleValue)>>,
    depth: u8,
}

/// A block of numbers in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PickleStorage {
    pub(super) key: Rc<str>,
    pub(super) number_type: NumberType,
    pub(super) numbers: usize,
}

/// A part of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PickleTensor {
    pub(super) storage: Rc<PickleStorage>,
    /// In numbers, not bytes.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Distance of neighbours along each axis, in numbers.
    pub(super) strides: Vec<usize>,
}

impl PickleValue {
    fn depth(&self) -> u8 {
        match self {
            Self::Tuple(sequence) | Self::List(sequence) => sequence.depth,
            Self::Dict(dict) => dict.depth,
            _ => 0,
        }
    }

    pub(super) fn as_size(&self) -> Option<usize> {
        match self {
            Self::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    fn as_sizes(&self) -> Option<Vec<usize>> {
        match self {
            Self::Tuple(tuple) => tuple.items.iter().map(Self::as_size).collect(),
            _ => None,
        }
    }
}

/// Interprets the pickle at the start of `bytes`. Returns its value and its length.
pub(super) fn read_pickle(bytes: &[u8]) -> Result<(PickleValue, usize), String> {
    let bytes = &bytes[..bytes.len().min(MAX_PICKLE_BYTES)];
    let mut machine = PickleMachine {
        input: PickleInput { bytes, position: 0 },
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    loop {
        let opcode = machine.input.read_byte()?;
        if opcode == b'.' {
            let value = machine.pop_value()?;
            return Ok((value, machine.input.position));
        }
        machine.run_instruction(opcode)?;
        if machine.stack.len() > MAX_STACK_VALUES || machine.marks.len() > MAX_STACK_VALUES {
            return Err("it has too many values".to_owned());
        }
    }
}

struct PickleInput<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> PickleInput<'a> {
    fn read_bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.position..];
        let bytes = rest.get(..count).ok_or("it is truncated, or too long")?;
        self.position += count;
        Ok(bytes)
    }

    fn read_byte(&mut self) -> Result<u8, String> {
        Ok(self.read_bytes(1)?[0])
    }

    /// Reads a little-endian number of at most four bytes.
    fn read_unsigned(&mut self, bytes: usize) -> Result<usize, String> {
        let bytes = self.read_bytes(bytes)?.iter().rev();
        Ok(bytes.fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    }

    fn read_text(&mut self, bytes: usize) -> Result<&'a str, String> {
        std::str::from_utf8(self.read_bytes(bytes)?).map_err(|_| "a text is not UTF-8".to_owned())
    }

    fn read_line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().position(|byte| *byte == b'\n');
        let line = self.read_text(length.ok_or("it is truncated")?)?;
        self.position += 1;
        Ok(line)
    }
}

struct PickleMachine<'a> {
    input: PickleInput<'a>,
    stack: Vec<PickleValue>,
    /// Heights of the stack at the instructions `MARK`.
    marks: Vec<usize>,
    memo: Vec<Option<PickleValue>>,
}

impl PickleMachine<'_> {
    fn run_instruction(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            // PROTO
            0x80 => match self.input.read_byte()? {
                2 => return Ok(()),
                version => return Err(format!("it has the pickle protocol {version}, not 2")),
            },
            // MARK
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            // BINPUT, LONG_BINPUT
            b'q' | b'r' => return self.store_in_memo(opcode),
            // SETITEM, SETITEMS
            b's' | b'u' => return self.set_items(opcode),
            // APPEND, APPENDS
            b'a' | b'e' => return self.append_items(opcode),
            // BUILD: attributes of a dictionary, such as the metadata of its modules.
            b'b' => {
                self.pop_value()?;
                return match self.stack.last() {
                    Some(PickleValue::Dict(_)) => Ok(()),
                    _ => Err("it sets attributes of something other than a dictionary".to_owned()),
                };
            }
            b'N' => PickleValue::None,
            // NEWTRUE, NEWFALSE
            0x88 => PickleValue::Bool(true),
            0x89 => PickleValue::Bool(false),
            b'J' | b'K' | b'M' | 0x8a => self.read_integer(opcode)?,
            // BINUNICODE
            b'X' => {
                let length = self.input.read_unsigned(4)?;
                PickleValue::Text(self.input.read_text(length)?.into())
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => PickleValue::Tuple(make_sequence(Vec::new())?),
            0x85..=0x87 => {
                let height = self.stack.len().checked_sub(usize::from(opcode - 0x84));
                self.collect_tuple(height)?
            }
            b't' => {
                let height = self.marks.pop();
                self.collect_tuple(height)?
            }
            // EMPTY_LIST, EMPTY_DICT
            b']' => PickleValue::List(make_sequence(Vec::new())?),
            b'}' => make_empty_dict(),
            // BINGET, LONG_BINGET
            b'h' | b'j' => self.load_from_memo(opcode)?,
            b'c' => self.read_global()?,
            // BINPERSID
            b'Q' => {
                let id = self.pop_value()?;
                make_storage(&id).ok_or("it refers to something other than a storage of numbers")?
            }
            // REDUCE
            b'R' => {
                let arguments = self.pop_value()?;
                let function = self.pop_value()?;
                build_object(&function, &arguments)?
            }
            opcode => return Err(format!("the instruction {opcode:#04x} is not allowed")),
        };
        self.stack.push(value);
        Ok(())
    }

    fn pop_value(&mut self) -> Result<PickleValue, String> {
        let is_marked = self.marks.last() == Some(&self.stack.len());
        let value = if is_marked { None } else { self.stack.pop() };
        value.ok_or_else(|| "it takes a value from an empty stack".to_owned())
    }

    /// Returns the values above the mark and removes it.
    fn pop_marked(&mut self) -> Result<Vec<PickleValue>, String> {
        let height = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(height))
    }

    /// Removes the values above `height` and makes a tuple of them.
    fn collect_tuple(&mut self, height: Option<usize>) -> Result<PickleValue, String> {
        let lowest = self.marks.last().copied().unwrap_or(0);
        let height = height.filter(|height| *height >= lowest);
        let items = self.stack.split_off(height.ok_or("a tuple lacks values")?);
        make_sequence(items).map(PickleValue::Tuple)
    }

    /// BININT, BININT1, BININT2, LONG1
    fn read_integer(&mut self, opcode: u8) -> Result<PickleValue, String> {
        let (count, is_signed) = match opcode {
            b'J' => (4, true),
            b'K' => (1, false),
            b'M' => (2, false),
            _ => (usize::from(self.input.read_byte()?), true),
        };
        if count > MAX_INTEGER_BYTES {
            return Err(format!("an integer has {count} bytes"));
        }
        let bytes = self.input.read_bytes(count)?;
        let is_negative = is_signed && bytes.last().is_some_and(|byte| *byte >= 0x80);
        let start = if is_negative { -1 } else { 0 };
        let number = bytes.iter().rev();
        let number = number.fold(start, |number, byte| (number << 8) | i128::from(*byte));
        Ok(PickleValue::Integer(number))
    }

    fn read_global(&mut self) -> Result<PickleValue, String> {
        let (module, name) = (self.input.read_line()?, self.input.read_line()?);
        Ok(PickleValue::Global(match (module, name) {
            ("collections", "OrderedDict") => PickleGlobal::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => PickleGlobal::RebuildTensor,
            ("torch", "FloatStorage") => PickleGlobal::Storage(NumberType::F32),
            ("torch", "LongStorage") => PickleGlobal::Storage(NumberType::I64),
            _ => return Err(format!("it uses {module:?} {name:?}, which is not allowed")),
        }))
    }

    fn read_memo_index(&mut self, is_long: bool) -> Result<usize, String> {
        let index = self.input.read_unsigned(if is_long { 4 } else { 1 })?;
        if index >= MAX_MEMO_VALUES {
            return Err("it remembers too many values".to_owned());
        }
        Ok(index)
    }

    fn store_in_memo(&mut self, opcode: u8) -> Result<(), String> {
        let index = self.read_memo_index(opcode == b'r')?;
        let value = self.stack.last().ok_or("it remembers a missing value")?;
        if self.memo.len() <= index {
            self.memo.resize(index + 1, None);
        }
        // Lists and dictionaries still change, and no checkpoint uses one twice.
        let may_change = matches!(value, PickleValue::List(_) | PickleValue::Dict(_));
        self.memo[index] = (!may_change).then(|| value.clone());
        Ok(())
    }

    fn load_from_memo(&mut self, opcode: u8) -> Result<PickleValue, String> {
        let index = self.read_memo_index(opcode == b'j')?;
        let value = self.memo.get(index).cloned().flatten();
        value.ok_or_else(|| "it reuses a list, a dictionary or a missing value".to_owned())
    }

    fn set_items(&mut self, opcode: u8) -> Result<(), String> {
        let items = match opcode {
            b'u' => self.pop_marked()?,
            _ => {
                let value = self.pop_value()?;
                vec![self.pop_value()?, value]
            }
        };
        let Some(PickleValue::Dict(dict)) = self.stack.last_mut() else {
            return Err("it sets items of something other than a dictionary".to_owned());
        };
        if items.len() % 2 != 0 {
            return Err("a key lacks its value".to_owned());
        }
        dict.depth = dict.depth.max(depth_around(&items)?);
        let mut items = items.into_iter();
        let target = Rc::make_mut(&mut dict.items);
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            target.push((key, value));
        }
        Ok(())
    }

    fn append_items(&mut self, opcode: u8) -> Result<(), String> {
        let items = match opcode {
            b'e' => self.pop_marked()?,
            _ => vec![self.pop_value()?],
        };
        let Some(PickleValue::List(list)) = self.stack.last_mut() else {
            return Err("it appends to something other than a list".to_owned());
        };
        list.depth = list.depth.max(depth_around(&items)?);
        Rc::make_mut(&mut list.items).extend(items);
        Ok(())
    }
}

/// Returns the depth of a value that contains `items`.
fn depth_around(items: &[PickleValue]) -> Result<u8, String> {
    let depth = items.iter().map(PickleValue::depth).max().unwrap_or(0) + 1;
    if depth > MAX_DEPTH {
        return Err("its values are nested too deep".to_owned());
    }
    Ok(depth)
}

fn make_sequence(items: Vec<PickleValue>) -> Result<PickleSequence, String> {
    let depth = depth_around(&items)?;
    let items = Rc::new(items);
    Ok(PickleSequence { items, depth })
}

fn make_empty_dict() -> PickleValue {
    PickleValue::Dict(PickleDict {
        items: Rc::default(),
        depth: 1,
    })
}

/// Returns the storage of the persistent id `("storage", type, key, location, numbers, None)`.
fn make_storage(id: &PickleValue) -> Option<PickleValue> {
    let PickleValue::Tuple(id) = id else {
        return None;
    };
    match id.items.as_slice() {
        [
            PickleValue::Text(kind),
            PickleValue::Global(PickleGlobal::Storage(number_type)),
            PickleValue::Text(key),
            PickleValue::Text(_),
            numbers,
            PickleValue::None,
        ] if &**kind == "storage" => Some(PickleValue::Storage(Rc::new(PickleStorage {
            key: Rc::clone(key),
            number_type: *number_type,
            numbers: numbers.as_size()?,
        }))),
        _ => None,
    }
}

/// Evaluates one of the two calls that a checkpoint contains.
fn build_object(function: &PickleValue, arguments: &PickleValue) -> Result<PickleValue, String> {
    let PickleValue::Tuple(arguments) = arguments else {
        return Err("a call lacks its arguments".to_owned());
    };
    match (function, arguments.items.as_slice()) {
        (PickleValue::Global(PickleGlobal::OrderedDict), []) => Ok(make_empty_dict()),
        (
            PickleValue::Global(PickleGlobal::RebuildTensor),
            [
                PickleValue::Storage(storage),
                offset,
                shape,
                strides,
                PickleValue::Bool(_),
                PickleValue::Dict(_),
            ],
        ) => {
            let tensor = make_tensor(storage, offset, shape, strides);
            tensor.ok_or_else(|| "a tensor does not fit its storage".to_owned())
        }
        _ => Err("it calls a function in an unknown way".to_owned()),
    }
}

fn make_tensor(
    storage: &Rc<PickleStorage>,
    offset: &PickleValue,
    shape: &PickleValue,
    strides: &PickleValue,
) -> Option<PickleValue> {
    let (offset, shape) = (offset.as_size()?, shape.as_sizes()?);
    let strides = strides.as_sizes()?;
    if shape.len() > MAX_AXES || strides.len() != shape.len() || shape.contains(&0) {
        return None;
    }
    // No number of the storage may be used twice, so that a small file cannot have large tensors.
    let mut count = 1_usize;
    let mut last = offset;
    for (side, stride) in shape.iter().zip(&strides) {
        count = count.checked_mul(*side)?;
        last = last.checked_add((side - 1).checked_mul(*stride)?)?;
    }
    if last >= storage.numbers || count > storage.numbers {
        return None;
    }
    Some(PickleValue::Tensor(Rc::new(PickleTensor {
        storage: Rc::clone(storage),
        offset,
        shape,
        strides,
    })))
}
