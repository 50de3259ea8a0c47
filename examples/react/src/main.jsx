import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import { BitMar } from 'bitmar';

const loading = BitMar.load(); // one model for the page

function Captioner() {
  const [photo, setPhoto] = useState();
  const [caption, setCaption] = useState('Choose a photo.');

  async function choose({ target: { files: [file] } }) {
    setPhoto(URL.createObjectURL(file));
    setCaption('…');
    try {
      const model = await loading;
      setCaption((await model.caption(file, { numBeams: 8 })).text);
    } catch (error) {
      setCaption(error.message);
    }
  }

  return (
    <>
      <p><input type="file" accept="image/*" aria-label="A photo" onChange={choose} /></p>
      {photo && <img src={photo} alt={caption} width="400" />}
      <p role="status">{caption}</p>
    </>
  );
}

createRoot(document.getElementById('root')).render(<Captioner />);
