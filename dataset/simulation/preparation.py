"""What lies on the slide besides stain: phase of its own, heights, neighbours, debris, other stains."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Stain = Literal["giemsa", "haematoxylin-eosin", "papanicolaou", "methylene-blue", "pale"]
PathUm = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Preparation(BaseModel):
    """A slide as the simulator needs it; every default leaves out what it describes.

    Optical paths are in micrometres against the medium: 0.09 um is one radian of green light. Under mounting medium
    they all but vanish; a dried, unmounted red cell has four radians.

    Attributes
    ----------
    body_path_um
        Of the middle of a cell's body, whether it took up stain or not.
    red_cell_path_um
        Of the thick ring of a red cell.
    dimple
        How much thinner a red cell is in the middle, as a share.
    membrane_path_um
        Of a cell's outline, over about a third of a micrometre.
    texture_path_um
        Standard deviation of fine relief, everywhere: dried plasma, scratches of the glass.
    colour_detail
        Standard deviation of detail that each colour has for itself, as a share of its density.
    thickness_um
        Range of heights over which a cell's own details lie.
    tilt
        Height gained along the field in y and x, micrometres per micrometre.
    neighbours
        Red cells added per 100 square micrometres.
    neighbour_height_um
        Standard deviation of the added cells' height over the white cell.
    debris
        Grains per 100 square micrometres, ``debris_height_um`` above (or below) the cells.
    stain
        Key of ``slide.STAINS``.
    size
        Of cells, relative.
    red_cells_only
        Share of fields without a white cell.
    off_centre_um
        Half width of the range by which a cell misses the middle of its picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    body_path_um: PathUm = 0.0
    red_cell_path_um: PathUm = 0.0
    dimple: Share = 0.5
    membrane_path_um: PathUm = 0.0
    texture_path_um: PathUm = 0.0
    colour_detail: Share = 0.0
    thickness_um: Annotated[float, Field(ge=0, le=10)] = 0.0
    tilt: tuple[float, float] = (0.0, 0.0)
    neighbours: Annotated[float, Field(ge=0, le=5)] = 0.0
    neighbour_height_um: Annotated[float, Field(ge=0, le=10)] = 0.0
    debris: Annotated[float, Field(ge=0, le=50)] = 0.0
    debris_height_um: Annotated[float, Field(ge=-20, le=20)] = 0.0
    stain: Stain = "giemsa"
    size: Annotated[float, Field(ge=0.3, le=3)] = 1.0
    red_cells_only: Share = 0.0
    off_centre_um: Annotated[float, Field(ge=0, le=10)] = 0.0
